//! The entries of a table, found by their index. Tables share what they do not differ in: to
//! change an entry copies its own chunk, and no other.

use std::sync::Arc;

use super::entry::PathEntry;

const CHUNK_ENTRY_COUNT: usize = 64;

type Chunk = Vec<Option<Arc<PathEntry>>>;

/// Entries by index; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    chunks: Vec<Arc<Chunk>>,
    /// Indexes without an entry.
    free: Arc<Vec<usize>>,
}

impl Entries {
    /// The entry of an index that is in use.
    #[inline]
    pub fn get(&self, index: usize) -> &PathEntry {
        let entry = &self.chunks[index / CHUNK_ENTRY_COUNT][index % CHUNK_ENTRY_COUNT];
        entry.as_ref().expect("an index that is in use")
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: usize) -> &mut PathEntry {
        let entry = self.place(index).as_mut().expect("an index that is in use");
        Arc::make_mut(entry)
    }

    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = &PathEntry> {
        let all = self.chunks.iter().flat_map(|chunk| &**chunk);
        all.flatten().map(Arc::as_ref)
    }

    /// Adds an entry, and says where.
    pub fn add(&mut self, entry: PathEntry) -> usize {
        let entry = Some(Arc::new(entry));
        if let Some(index) = Arc::make_mut(&mut self.free).pop() {
            *self.place(index) = entry;
            return index;
        }
        let is_full = |chunk: &Arc<Chunk>| chunk.len() == CHUNK_ENTRY_COUNT;
        if self.chunks.last().is_none_or(is_full) {
            let chunk = Vec::with_capacity(CHUNK_ENTRY_COUNT);
            self.chunks.push(Arc::new(chunk));
        }
        let before = (self.chunks.len() - 1) * CHUNK_ENTRY_COUNT;
        let chunk = Arc::make_mut(self.chunks.last_mut().expect("one was pushed"));
        chunk.push(entry);
        before + chunk.len() - 1
    }

    /// Takes an entry out; its index will be that of another.
    pub fn remove(&mut self, index: usize) {
        *self.place(index) = None;
        Arc::make_mut(&mut self.free).push(index);
    }

    fn place(&mut self, index: usize) -> &mut Option<Arc<PathEntry>> {
        let chunk = Arc::make_mut(&mut self.chunks[index / CHUNK_ENTRY_COUNT]);
        &mut chunk[index % CHUNK_ENTRY_COUNT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::pattern::Pattern;

    fn entry(path: &str) -> PathEntry {
        PathEntry::new(Pattern::parse(path).expect("a pattern"))
    }

    #[test]
    fn a_clone_keeps_what_is_changed_and_removed_afterwards() {
        let mut entries = Entries::default();
        let paths: Vec<_> = (0..200).map(|n| format!("/{n}")).collect();
        for (index, path) in paths.iter().enumerate() {
            assert_eq!(entries.add(entry(path)), index);
        }
        let before = entries.clone();
        entries.remove(70);
        entries.get_mut(3).pattern = Pattern::parse("/three").unwrap();
        assert_eq!(entries.add(entry("/again")), 70);
        assert_eq!(before.get(70).pattern.as_str(), "/70");
        assert_eq!(before.get(3).pattern.as_str(), "/3");
        assert_eq!(entries.get(3).pattern.as_str(), "/three");
        assert_eq!(entries.iter().count(), 200);
        let chunks = entries.chunks.iter().zip(&before.chunks);
        let shared: Vec<_> = chunks.map(|(a, b)| Arc::ptr_eq(a, b)).collect();
        assert_eq!(shared, [false, false, true, true]);
    }
}
