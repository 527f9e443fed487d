//! Being another user of this host, which takes root.

use rustix::process::{Gid, Uid};

/// A user that no test needs anything of.
pub const NOBODY: u32 = 65534;

/// Does something as another user, whose group has the same number, on a thread of its own; `None`
/// where this one cannot become another. What it opens and starts is that user's.
pub fn as_user<R: Send>(
    number: u32,
    groups: &[u32],
    action: impl FnOnce() -> R + Send,
) -> Option<R> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: this test needs root");
        return None;
    }
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_thread_groups(&groups).expect("root may");
            let (gid, uid) = (Gid::from_raw(number), Uid::from_raw(number));
            rustix::thread::set_thread_res_gid(gid, gid, gid).expect("root may");
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root may");
            action()
        });
        Some(thread.join().expect("it does not panic"))
    })
}
