//! Numbers of as few bytes as they need: LEB128, seven bits a byte, the lowest first.

/// Appends a number.
pub(crate) fn append(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number from the beginning of `bytes`; `None` where there is none.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits.leading_zeros() < shift {
            return None;
        }
        number |= bits << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(numbers: Vec<u64>, shift in 0_u32..64, rest: Vec<u8>) {
            let numbers: Vec<u64> = numbers.into_iter().map(|it| it >> shift).collect();
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| append(&mut bytes, *number));
            bytes.extend_from_slice(&rest);
            let mut left = &bytes[..];
            for number in numbers {
                prop_assert_eq!(take(&mut left), Some(number));
            }
            prop_assert_eq!(left, rest);
        }

        #[test]
        fn what_is_no_number_is_none(bytes: Vec<u8>) {
            let mut left = &bytes[..];
            if let Some(number) = take(&mut left) {
                let read = bytes.len() - left.len();
                prop_assert!(read <= 10 && number.leading_zeros() + 7 * read as u32 >= 64);
            }
        }
    }

    #[test]
    fn a_number_that_is_cut_off_or_too_long_is_none() {
        assert_eq!(take(&mut &[][..]), None);
        assert_eq!(take(&mut &[0x80][..]), None);
        assert_eq!(take(&mut &[0xff; 20][..]), None);
        let most = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(take(&mut &most[..]), Some(u64::MAX));
        let more = [&[0xff; 9][..], &[2]].concat();
        assert_eq!(take(&mut &more[..]), None);
    }
}
