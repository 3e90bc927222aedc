//! Lists through the slots of a slab: order without allocation, and removal from the middle in O(1).

use crate::slab::Slab;

/// Before the first and behind the last.
const NIL: u32 = u32::MAX;

/// Before a slot that is in no list. Tables have 2²⁴ entries at most.
const OUT: u32 = u32::MAX - 1;

/// A slot's place in one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    prev: u32,
    next: u32,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self { prev: OUT, next: NIL }
    }

    pub(crate) const fn is_linked(self) -> bool {
        self.prev != OUT
    }

    /// The slot behind this one.
    pub(crate) fn next(self) -> Option<u32> {
        (self.next != NIL).then_some(self.next)
    }

    /// The slot before this one.
    pub(crate) fn prev(self) -> Option<u32> {
        (self.prev < OUT).then_some(self.prev)
    }
}

/// Picks the link of one list out of a slot: a slot can be in several lists, with a link for each.
pub(crate) type Pick<T> = fn(&mut T) -> &mut Link;

/// First in, first out. A slot must leave the list before it leaves the slab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self { head: NIL, tail: NIL, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// The slot that has waited longest.
    #[inline]
    pub(crate) fn front(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    /// The slot that came last.
    #[inline]
    pub(crate) fn back(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }

    /// Appends the slot at `index`; nothing happens if it is in the list already.
    #[inline]
    pub(crate) fn push_back<T>(&mut self, slab: &mut Slab<T>, index: u32, pick: Pick<T>) {
        let Some(link) = slab.at_mut(index).map(pick) else { return };
        if link.is_linked() {
            return;
        }
        *link = Link { prev: self.tail, next: NIL };
        match slab.at_mut(self.tail).map(pick) {
            Some(tail) => tail.next = index,
            None => self.head = index,
        }
        self.tail = index;
        self.len += 1;
    }

    /// Takes the slot at `index` out; nothing happens if it is not in the list.
    #[inline]
    pub(crate) fn remove<T>(&mut self, slab: &mut Slab<T>, index: u32, pick: Pick<T>) {
        let Some(link) = slab.at_mut(index).map(pick) else { return };
        if !link.is_linked() {
            return;
        }
        let Link { prev, next } = core::mem::replace(link, Link::new());
        match slab.at_mut(prev).map(pick) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match slab.at_mut(next).map(pick) {
            Some(behind) => behind.prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }

    /// Appends all slots of another list, which is empty then. It costs the same however many they are.
    pub(crate) fn append<T>(&mut self, slab: &mut Slab<T>, other: &mut Self, pick: Pick<T>) {
        let Self { head, tail, len } = core::mem::replace(other, Self::new());
        let Some(first) = slab.at_mut(head).map(pick) else { return };
        first.prev = self.tail;
        match slab.at_mut(self.tail).map(pick) {
            Some(last) => last.next = head,
            None => self.head = head,
        }
        self.tail = tail;
        self.len += len;
    }

    /// Takes out the slot that has waited longest.
    #[inline]
    pub(crate) fn pop_front<T>(&mut self, slab: &mut Slab<T>, pick: Pick<T>) -> Option<u32> {
        let index = self.front()?;
        self.remove(slab, index, pick);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    struct Slot(Link);

    fn link(slot: &mut Slot) -> &mut Link {
        &mut slot.0
    }

    fn drain(list: &mut List, slab: &mut Slab<Slot>) -> Vec<u32> {
        core::iter::from_fn(|| list.pop_front(slab, link)).collect()
    }

    #[test]
    fn slots_leave_in_the_order_in_which_they_came() {
        let (mut slab, mut list) = (Slab::new(), List::new());
        for _ in 0..4 {
            let key = slab.insert(Slot(Link::new()));
            list.push_back(&mut slab, key.index(), link);
            list.push_back(&mut slab, key.index(), link);
        }
        list.remove(&mut slab, 2, link);
        list.remove(&mut slab, 2, link);
        assert_eq!(list.len(), 3);
        list.push_back(&mut slab, 2, link);
        assert_eq!(drain(&mut list, &mut slab), [0, 1, 3, 2]);
        assert_eq!((list.len(), list.front()), (0, None));
    }

    #[test]
    fn a_list_is_appended_to_another_whole() {
        let (mut slab, mut one, mut other) = (Slab::new(), List::new(), List::new());
        for n in 0..6 {
            let key = slab.insert(Slot(Link::new()));
            let list = if n < 3 { &mut one } else { &mut other };
            list.push_back(&mut slab, key.index(), link);
        }
        one.append(&mut slab, &mut other, link);
        one.append(&mut slab, &mut other, link);
        assert_eq!((one.len(), other.len(), other.front()), (6, 0, None));
        // At the seam as anywhere else.
        one.remove(&mut slab, 2, link);
        one.remove(&mut slab, 3, link);
        other.append(&mut slab, &mut one, link);
        assert_eq!(drain(&mut other, &mut slab), [0, 1, 4, 5]);
        assert_eq!((one.len(), one.front(), one.back()), (0, None, None));
    }
}
