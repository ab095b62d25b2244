//! The encoder: canonical bytes into the caller's buffer.

/// Writes bencode to the end of a buffer. Keys must be written in sorted order, which debug builds
/// check.
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    #[cfg(debug_assertions)]
    last_key: Option<Vec<u8>>,
}

impl<'a> Encoder<'a> {
    /// An encoder that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder {
            out,
            #[cfg(debug_assertions)]
            last_key: None,
        }
    }

    /// Writes a string.
    pub fn bytes(&mut self, text: &[u8]) {
        self.string_head(text.len());
        self.out.extend_from_slice(text);
    }

    /// Writes a string of `len` bytes that `fill` appends.
    pub fn bytes_with(&mut self, len: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        self.string_head(len);
        let start = self.out.len();
        fill(self.out);
        debug_assert_eq!(self.out.len() - start, len);
    }

    /// Writes an integer.
    pub fn int(&mut self, number: i64) {
        self.out.push(b'i');
        if number < 0 {
            self.out.push(b'-');
        }
        self.digits(number.unsigned_abs());
        self.out.push(b'e');
    }

    /// Copies bytes that are bencode already.
    pub fn raw(&mut self, bencode: &[u8]) {
        self.out.extend_from_slice(bencode);
    }

    /// Writes a list of what `inside` writes.
    pub fn list(&mut self, inside: impl FnOnce(&mut Encoder<'_>)) {
        self.out.push(b'l');
        inside(&mut Encoder::new(self.out));
        self.out.push(b'e');
    }

    /// Writes a dict of what `inside` writes by [`Encoder::key`] and a value in turn.
    pub fn dict(&mut self, inside: impl FnOnce(&mut Encoder<'_>)) {
        self.out.push(b'd');
        inside(&mut Encoder::new(self.out));
        self.out.push(b'e');
    }

    /// Writes a dict's next key; the value's encoder follows.
    pub fn key(&mut self, key: &[u8]) -> &mut Encoder<'a> {
        #[cfg(debug_assertions)]
        {
            debug_assert!(self.last_key.as_deref() < Some(key), "keys out of order");
            self.last_key = Some(key.to_vec());
        }
        self.bytes(key);
        self
    }

    fn string_head(&mut self, len: usize) {
        self.digits(len as u64);
        self.out.push(b':');
    }

    fn digits(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_bep_3_shows() {
        let mut out = Vec::new();
        Encoder::new(&mut out).dict(|d| {
            d.key(b"cow").bytes(b"moo");
            d.key(b"n").int(-42);
            d.key(b"spam").list(|l| {
                l.bytes(b"a");
                l.int(0);
                l.int(i64::MIN);
            });
            d.key(b"x").bytes_with(2, |out| out.extend_from_slice(b"yz"));
        });
        assert_eq!(out, b"d3:cow3:moo1:ni-42e4:spaml1:ai0ei-9223372036854775808ee1:x2:yze");
    }
}
