//! Statuses of responses, counted.

/// How many responses had which status, right ones or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u64)>);

impl Statuses {
    /// Counts responses of a status.
    pub fn add(&mut self, status: u16, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == status) {
            Some((_, known)) => *known += count,
            None => self.0.push((status, count)),
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        for (status, count) in &other.0 {
            self.add(*status, *count);
        }
    }

    /// Statuses in their order, and how many of each.
    pub fn sorted(&self) -> Vec<(u16, u64)> {
        let mut all = self.0.clone();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_counted_and_shown_in_their_order() {
        let mut statuses = Statuses::default();
        statuses.add(404, 2);
        statuses.add(200, 1);
        let mut more = statuses.clone();
        more.add(200, 4);
        statuses.merge(&more);
        assert_eq!(statuses.sorted(), [(200, 6), (404, 4)]);
    }
}
