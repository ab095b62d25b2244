//! Lists that take little more room than what stands in them.

/// Appends to a list that grows by a quarter: doubled, half of it might stand empty for good.
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) {
    make(list);
    list.push(item);
}

/// Makes room for one more.
pub(crate) fn make<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(4));
    }
}

/// Gives back what a list that was full needed.
pub(crate) fn give_back<T>(list: &mut Vec<T>) {
    if list.len() < list.capacity() / 8 {
        list.shrink_to(list.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
