//! Values named by a number while they wait, the numbers used again.

/// Values in slots.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Keeps a value; its number.
    pub(crate) fn put(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.values[slot as usize] = Some(value);
                slot
            }
            None => {
                self.values.push(Some(value));
                (self.values.len() - 1) as u32
            }
        }
    }

    /// Takes the value out of a slot.
    pub(crate) fn take(&mut self, slot: u32) -> Option<T> {
        let value = self.values.get_mut(slot as usize)?.take();
        if value.is_some() {
            self.free.push(slot);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_empty_once() {
        let mut slots = Slots::default();
        let (a, b) = (slots.put('a'), slots.put('b'));
        assert_eq!((slots.take(a), slots.take(a)), (Some('a'), None));
        assert_eq!(slots.put('c'), a);
        assert_eq!((slots.take(b), slots.take(a), slots.take(9)), (Some('b'), Some('c'), None));
        assert_eq!(slots.values.len(), 2);
    }
}
