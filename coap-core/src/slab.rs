//! Storage whose handles go stale instead of pointing at somebody else.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// Names a value in a [`Slab`]. The generation is drawn from a counter of the whole slab, so that the slab may give its
/// memory back and a handle from before still finds nothing. After 2³² insertions the counter begins again: a handle
/// that was kept for so long could, in the same place, find somebody else.
pub(crate) struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The place in the slab; what intrusive lists and timers are made of.
    pub(crate) const fn index(self) -> u32 {
        self.index
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}

impl<T> Eq for Key<T> {}

impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.generation, self.index).cmp(&(other.generation, other.index))
    }
}

impl<T> core::hash::Hash for Key<T> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (self.index, self.generation).hash(state);
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Above this many entries an empty slab gives its memory back; below, keeping it is cheaper than asking again.
const KEEP: usize = 256;

/// A growing table of `T` with O(1) insertion, removal and look-up.
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// First free entry; `entries.len()` when there is none.
    free: usize,
    len: usize,
    generation: u32,
}

enum Entry<T> {
    Free { next: usize },
    Used { generation: u32, value: T },
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: 0, len: 0, generation: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.free;
        match self.entries.get_mut(index) {
            Some(slot) => {
                // Not swapped: values can be large.
                let Entry::Free { next } = *slot else { unreachable!("the free list holds free entries only") };
                self.free = next;
                *slot = Entry::Used { generation, value };
            }
            None => {
                self.entries.push(Entry::Used { generation, value });
                self.free = self.entries.len();
            }
        }
        self.len += 1;
        Key { index: index as u32, generation, of: PhantomData }
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        self.get(key)?;
        let slot = self.entries.get_mut(key.index as usize)?;
        let Entry::Used { value, .. } = core::mem::replace(slot, Entry::Free { next: self.free }) else {
            return None;
        };
        self.freed(key.index);
        Some(value)
    }

    /// As [`remove`](Self::remove), for what is not needed any more: it is dropped in place, not moved.
    pub(crate) fn discard(&mut self, key: Key<T>) {
        if self.get(key).is_none() {
            return;
        }
        if let Some(slot) = self.entries.get_mut(key.index as usize) {
            *slot = Entry::Free { next: self.free };
            self.freed(key.index);
        }
    }

    fn freed(&mut self, index: u32) {
        self.free = index as usize;
        self.len -= 1;
        if self.len == 0 && self.entries.capacity() > KEEP {
            self.entries = Vec::new();
            self.free = 0;
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some(Entry::Used { generation, value }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some(Entry::Used { generation, value }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// What is at `index` now, whatever its generation: for lists and timers, which are undone with their owner.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&T> {
        match self.entries.get(index as usize) {
            Some(Entry::Used { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// As [`at`](Self::at), to change it.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.entries.get_mut(index as usize) {
            Some(Entry::Used { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// The keys of all entries.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key<T>> + '_ {
        (0..self.entries.len() as u32).filter_map(|index| self.key_at(index))
    }

    /// Behind the last index that was ever used.
    pub(crate) const fn end(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The key of what is at `index` now.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key<T>> {
        match self.entries.get(index as usize) {
            Some(Entry::Used { generation, .. }) => Some(Key { index, generation: *generation, of: PhantomData }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index(), second.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
    }

    #[test]
    fn an_emptied_slab_gives_its_memory_back_and_old_keys_stay_stale() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..1_000).map(|n| slab.insert(n)).collect();
        for key in &keys {
            slab.remove(*key);
        }
        assert_eq!(slab.entries.capacity(), 0);
        slab.insert(0);
        assert!(keys.iter().all(|key| slab.get(*key).is_none()));
    }

    #[test]
    fn random_operations_agree_with_a_list_of_pairs() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut slab = Slab::new();
        let mut twin: Vec<(Key<u64>, u64)> = Vec::new();
        let mut gone: Vec<Key<u64>> = Vec::new();
        for _ in 0..20_000 {
            let draw = rng.next_u64();
            if draw % 2 == 0 || twin.is_empty() {
                twin.push((slab.insert(draw), draw));
            } else {
                let (key, value) = twin.swap_remove((draw >> 8) as usize % twin.len());
                assert_eq!(slab.remove(key), Some(value));
                gone.push(key);
            }
            assert_eq!(slab.len(), twin.len());
        }
        assert!(
            twin.iter().all(|(key, value)| slab.get(*key) == Some(value) && slab.key_at(key.index()) == Some(*key))
        );
        assert!(gone.iter().all(|key| slab.get(*key).is_none()));
    }
}
