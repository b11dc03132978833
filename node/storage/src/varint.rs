//! Numbers of as few bytes as they need: LEB128, seven bits a byte, the lowest first.

/// Appends a number.
pub(crate) fn append(bytes: &mut Vec<u8>, number: u64) {
    let (encoded, length) =
        leb128fmt::encode_u64(number).expect("there is room for any number of 64 bits");
    bytes.extend_from_slice(&encoded[..length]);
}

/// Takes a number from the beginning of `bytes`; `None` where there is none.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut end = 0;
    let number = leb128fmt::decode_uint_slice::<u64, 64>(bytes, &mut end).ok()?;
    *bytes = bytes.get(end..)?;
    Some(number)
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
