//! Lists that take little more room than what stands in them.

use std::collections::VecDeque;

/// Appends to a list that grows by a quarter: doubled, half of it might stand empty for good.
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) {
    make(list);
    list.push(item);
}

/// Makes room for one more.
pub(crate) fn make<T>(list: &mut Vec<T>) {
    make_part(list, 4);
}

/// Makes room for one more, and for such a part of what is there: the smaller it is, the less stands
/// empty, and the more often all is copied.
pub(crate) fn make_part<T>(list: &mut Vec<T>, part: usize) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / part).max(4));
    }
}

/// Gives back what a list that was full needed.
pub(crate) fn give_back<T>(list: &mut Vec<T>) {
    if list.len() < list.capacity() / 8 {
        list.shrink_to(list.len() * 2);
    }
}

/// A queue that has room for one, and for more only while there are more: between two inputs a node of
/// many in one process has nothing to say.
#[derive(Clone)]
pub(crate) struct Queue<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Queue<T> {
        Queue { first: None, rest: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, item: T) {
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(item);
        } else {
            self.rest.push_back(item);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.first.is_some() {
            return self.first.take();
        }
        let item = self.rest.pop_front()?;
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
        Some(item)
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_the_order_and_no_room() {
        let (mut queue, mut came, mut went) = (Queue::new(), 0, 0);
        for more in [1, 1, 5, 0, 2, 9] {
            (came..came + more).for_each(|n| queue.push(n));
            came += more;
            for _ in 0..more.min(4) {
                assert_eq!(queue.pop(), Some(went));
                went += 1;
            }
            assert_eq!(queue.len(), came - went);
        }
        assert!((went..came).eq(std::iter::from_fn(|| queue.pop())));
        assert_eq!(queue.rest.capacity(), 0);
    }

    #[test]
    fn a_list_has_at_most_a_quarter_of_empty_room_and_gives_back_what_it_needs_no_more() {
        let mut list = Vec::new();
        for n in 0..10_000usize {
            push(&mut list, n as u32);
            assert!(list.capacity() <= (n + 1) + (n / 4).max(4), "{} for {n}", list.capacity());
        }
        list.truncate(100);
        give_back(&mut list);
        assert!((100..=200).contains(&list.capacity()), "{}", list.capacity());
        list.clear();
        give_back(&mut list);
        assert_eq!(list.capacity(), 0);
    }
}
