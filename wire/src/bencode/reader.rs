//! The decoder for who knows what to expect: checks and reads in one pass.

use super::decode::{Error, Limits, Value, int_end, string, validate};

/// Reads a message's values one after the other and checks each as it is read. When
/// [`Reader::finish`] is reached without an error, the message was within its limits, as
/// [`Value::parse`] would have found it.
pub struct Reader<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
    depth_left: usize,
    items_left: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    ///
    /// # Errors
    /// There are more bytes than the limits allow.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Result<Reader<'a>, Error> {
        if bytes.len() > limits.bytes_max {
            return Err(Error::TooLarge);
        }
        let (depth_left, items_left) = (limits.depth_max, limits.items_max);
        Ok(Reader { whole: bytes, rest: bytes, depth_left, items_left })
    }

    /// Where the reader is, for [`Reader::since`].
    pub fn position(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    /// The value that began at `position` and ended here.
    pub fn since(&self, position: usize) -> Value<'a> {
        Value(self.whole.get(position..self.position()).unwrap_or_default())
    }

    /// Enters the next value if it is a dict; its keys follow by [`Reader::key`]. False, and nothing
    /// is read, if it is something else.
    #[inline]
    pub fn enter_dict(&mut self) -> Result<bool, Error> {
        match self.rest {
            [] => Err(Error::Truncated),
            [b'd', inside @ ..] => {
                self.count_item()?;
                self.depth_left = self.depth_left.checked_sub(1).ok_or(Error::TooLarge)?;
                self.rest = inside;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The next key of the dict that was entered last; its value is to be read next. `None` leaves
    /// the dict.
    #[inline]
    pub fn key(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match self.rest {
            [] => Err(Error::Truncated),
            [b'e', after @ ..] => {
                self.rest = after;
                self.depth_left += 1;
                Ok(None)
            }
            _ => self.string().map(Some),
        }
    }

    /// The next value if it is a string; what else it is, is checked and passed over.
    #[inline]
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match self.rest {
            [b'0'..=b'9', ..] => self.string().map(Some),
            _ => self.value().map(|_| None),
        }
    }

    /// The next value if it is an integer; what else it is, is checked and passed over.
    pub fn int(&mut self) -> Result<Option<i64>, Error> {
        match *self.rest {
            // A flag, or a digit that stands for one.
            [b'i', digit @ b'0'..=b'9', b'e', ref after @ ..] => {
                self.count_item()?;
                self.rest = after;
                Ok(Some(i64::from(digit - b'0')))
            }
            _ => self.value().map(|value| value.as_int()),
        }
    }

    /// The next value, of any kind.
    pub fn value(&mut self) -> Result<Value<'a>, Error> {
        let (start, from) = (self.rest, self.position());
        let at = |error: Error| error.after(from);
        match start.first() {
            None => return Err(Error::Truncated),
            Some(b'0'..=b'9') => {
                self.string()?;
            }
            Some(b'i') => {
                self.count_item()?;
                self.rest = &start[int_end(start, 0).map_err(at)?..];
            }
            Some(b'l') if self.skip_strings() => {}
            Some(_) => {
                let end = validate(start, self.depth_left, &mut self.items_left).map_err(at)?;
                self.rest = &start[end..];
            }
        }
        Ok(Value(&start[..start.len() - self.rest.len()]))
    }

    /// Passes over a list of nothing but strings, as nearly all lists are; false, and nothing is read,
    /// where there is anything to find fault with.
    fn skip_strings(&mut self) -> bool {
        let (Some(mut rest), Some(mut items_left)) =
            (self.rest.strip_prefix(b"l"), self.items_left.checked_sub(1))
        else {
            return false;
        };
        loop {
            let after = match rest {
                // Six bytes: nearly all lists are of v4 peers.
                [b'6', b':', _, _, _, _, _, _, after @ ..] => Ok(after),
                [b'0'..=b'9', ..] => string(rest).map(|(_, after)| after),
                _ => break,
            };
            let (Ok(after), Some(left)) = (after, items_left.checked_sub(1)) else { return false };
            (rest, items_left) = (after, left);
        }
        match rest {
            [b'e', after @ ..] if self.depth_left > 0 => {
                (self.rest, self.items_left) = (after, items_left);
                true
            }
            _ => false,
        }
    }

    /// The end of the message.
    ///
    /// # Errors
    /// Bytes are left.
    pub fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Trailing) }
    }

    /// The string that begins here.
    #[inline]
    fn string(&mut self) -> Result<&'a [u8], Error> {
        self.count_item()?;
        let (text, rest) = string(self.rest).map_err(|error| error.after(self.position()))?;
        self.rest = rest;
        Ok(text)
    }

    #[inline]
    fn count_item(&mut self) -> Result<(), Error> {
        self.items_left = self.items_left.checked_sub(1).ok_or(Error::TooLarge)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a message whose outermost values are dicts by keys, and all else in one of three ways.
    fn read_as(way: u8, bytes: &[u8], limits: Limits) -> Result<(), Error> {
        fn inside(way: u8, reader: &mut Reader<'_>, levels: usize) -> Result<(), Error> {
            if levels > 0 && reader.enter_dict()? {
                while reader.key()?.is_some() {
                    inside(way, reader, levels - 1)?;
                }
                return Ok(());
            }
            let start = reader.position();
            match way {
                0 => drop(reader.value()?),
                1 => assert_eq!(reader.int()?, reader.since(start).as_int()),
                _ => assert_eq!(reader.bytes()?, reader.since(start).as_bytes()),
            }
            Ok(())
        }
        let mut reader = Reader::new(bytes, limits)?;
        inside(way, &mut reader, 2)?;
        reader.finish()
    }

    fn read(bytes: &[u8], limits: Limits) -> Result<(), Error> {
        read_as(0, bytes, limits)
    }

    fn bencode() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|n| format!("i{n}e").into_bytes()),
            (0..10).prop_map(|n| format!("i{n}e").into_bytes()),
            any::<[u8; 6]>().prop_map(|text| [b"6:", &text[..]].concat()),
            proptest::collection::vec(any::<u8>(), 0..120).prop_map(|text| [
                format!("{}:", text.len()).as_bytes(),
                &text
            ]
            .concat()),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let key = "[a-z]{0,3}".prop_map(|key| format!("{}:{key}", key.len()).into_bytes());
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| [
                    b"l",
                    &items.concat()[..],
                    b"e"
                ]
                .concat()),
                proptest::collection::vec((key, inner), 0..6).prop_map(|entries| {
                    let inside: Vec<u8> =
                        entries.into_iter().flat_map(|(k, v)| [k, v].concat()).collect();
                    [b"d", &inside[..], b"e"].concat()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_refuses_what_a_whole_check_refuses_and_for_the_same_reason(
            message in bencode(),
            change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in proptest::option::of(any::<prop::sample::Index>()),
            depth_max in 0usize..6,
            items_max in prop_oneof![Just(500usize), 0usize..30],
        ) {
            let mut message = message;
            if let Some((at, byte)) = change {
                let at = at.index(message.len());
                message[at] = byte;
            }
            if let Some(at) = cut {
                message.truncate(at.index(message.len()));
            }
            let limits = Limits { depth_max, items_max, bytes_max: 1 << 16 };
            let whole = Value::parse(&message, limits).map(drop);
            for way in 0..3 {
                prop_assert_eq!(read_as(way, &message, limits), whole);
            }
        }
    }

    #[test]
    fn what_is_no_key_counts_before_it_is_refused() {
        for items_max in [1, 2] {
            let limits = Limits { depth_max: 1, items_max, bytes_max: 9 };
            assert_eq!(read(b"d\0", limits), Value::parse(b"d\0", limits).map(drop));
        }
    }

    #[test]
    fn values_are_the_bytes_of_the_message() {
        let mut reader = Reader::new(b"d1:ad1:xi5ee1:bl1:ze3:ccc3:xyze", Limits::KRPC).unwrap();
        assert_eq!(reader.enter_dict(), Ok(true));
        assert_eq!(reader.key(), Ok(Some(&b"a"[..])));
        let start = reader.position();
        assert_eq!(reader.enter_dict(), Ok(true));
        assert_eq!(reader.key(), Ok(Some(&b"x"[..])));
        assert_eq!(reader.int(), Ok(Some(5)));
        assert_eq!(reader.key(), Ok(None));
        assert_eq!(reader.since(start).raw(), b"d1:xi5ee");
        assert_eq!(reader.key(), Ok(Some(&b"b"[..])));
        assert_eq!(reader.enter_dict(), Ok(false));
        assert_eq!(reader.value().unwrap().raw(), b"l1:ze");
        assert_eq!(reader.key(), Ok(Some(&b"ccc"[..])));
        assert_eq!(reader.bytes(), Ok(Some(&b"xyz"[..])));
        assert_eq!(reader.key(), Ok(None));
        assert_eq!(reader.finish(), Ok(()));
    }
}
