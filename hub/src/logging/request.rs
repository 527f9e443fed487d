//! Which request a line of the log is about: the one whose task runs on this thread.

use std::cell::RefCell;
use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

thread_local! {
    /// Empty: none, or none with an id.
    static CURRENT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Until this is dropped, lines of this thread are about a request.
pub struct Current(());

/// The task of the request with this id runs now.
pub fn enter(id: &str) -> Current {
    CURRENT.with_borrow_mut(|current| {
        current.clear();
        current.push_str(id);
    });
    Current(())
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(String::clear);
    }
}

/// Adds a request's id to a line without its end.
type AddId = fn(line: &mut String, id: &str);

/// A format whose lines have the request's id.
pub struct Named<F> {
    format: F,
    add: AddId,
}

impl<F> Named<F> {
    /// The lines of a format, with the id as `add` adds it.
    pub fn new(format: F, add: AddId) -> Self {
        Self { format, add }
    }
}

/// `… request_id=ID`.
pub fn as_text(line: &mut String, id: &str) {
    line.push_str(" request_id=");
    line.push_str(id);
}

/// `{…, "request_id": "ID"}`; an id has nothing that JSON would have to escape.
pub fn as_json(line: &mut String, id: &str) {
    if line.pop() == Some('}') {
        line.push_str(",\"request_id\":\"");
        line.push_str(id);
        line.push_str("\"}");
    }
}

impl<S, N, F> FormatEvent<S, N> for Named<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let id = CURRENT.with_borrow(Clone::clone);
        if id.is_empty() {
            return self.format.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        line.truncate(line.trim_end().len());
        (self.add)(&mut line, &id);
        writeln!(writer, "{line}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gets_the_id_in_its_own_way() {
        let mut line = "a line".to_owned();
        as_text(&mut line, "7");
        assert_eq!(line, "a line request_id=7");
        let mut line = r#"{"a":1}"#.to_owned();
        as_json(&mut line, "7");
        assert_eq!(line, r#"{"a":1,"request_id":"7"}"#);
    }

    #[test]
    fn a_request_is_current_while_its_task_runs() {
        let current = || CURRENT.with_borrow(Clone::clone);
        let entered = enter("x");
        assert_eq!(current(), "x");
        drop(entered);
        assert_eq!(current(), "");
    }
}
