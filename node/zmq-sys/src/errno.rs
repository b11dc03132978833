//! Codes of errors: the system's, and libzmq's own above them.

use std::ffi::c_int;

pub const EACCES: c_int = libc::EACCES;
pub const EADDRINUSE: c_int = libc::EADDRINUSE;
pub const EADDRNOTAVAIL: c_int = libc::EADDRNOTAVAIL;
pub const EAGAIN: c_int = libc::EAGAIN;
pub const EBUSY: c_int = libc::EBUSY;
pub const ECONNREFUSED: c_int = libc::ECONNREFUSED;
pub const EFAULT: c_int = libc::EFAULT;
pub const EHOSTUNREACH: c_int = libc::EHOSTUNREACH;
pub const EINPROGRESS: c_int = libc::EINPROGRESS;
pub const EINTR: c_int = libc::EINTR;
pub const EINVAL: c_int = libc::EINVAL;
pub const EMFILE: c_int = libc::EMFILE;
pub const EMSGSIZE: c_int = libc::EMSGSIZE;
pub const ENAMETOOLONG: c_int = libc::ENAMETOOLONG;
pub const ENETDOWN: c_int = libc::ENETDOWN;
pub const ENOBUFS: c_int = libc::ENOBUFS;
pub const ENODEV: c_int = libc::ENODEV;
pub const ENOENT: c_int = libc::ENOENT;
pub const ENOMEM: c_int = libc::ENOMEM;
pub const ENOTCONN: c_int = libc::ENOTCONN;
pub const ENOTSOCK: c_int = libc::ENOTSOCK;
pub const ENOTSUP: c_int = libc::ENOTSUP;
pub const EPROTO: c_int = libc::EPROTO;
pub const EPROTONOSUPPORT: c_int = libc::EPROTONOSUPPORT;

/// What libzmq's own codes begin above.
const OWN: c_int = 156_384_712;

// The system's, on systems that lack them.
pub const ENOTSUP_ALT: c_int = OWN + 1;
pub const EPROTONOSUPPORT_ALT: c_int = OWN + 2;
pub const ENOBUFS_ALT: c_int = OWN + 3;
pub const ENETDOWN_ALT: c_int = OWN + 4;
pub const EADDRINUSE_ALT: c_int = OWN + 5;
pub const EADDRNOTAVAIL_ALT: c_int = OWN + 6;
pub const ECONNREFUSED_ALT: c_int = OWN + 7;
pub const EINPROGRESS_ALT: c_int = OWN + 8;
pub const ENOTSOCK_ALT: c_int = OWN + 9;
pub const EMSGSIZE_ALT: c_int = OWN + 10;

// What only libzmq knows.
pub const EFSM: c_int = OWN + 51;
pub const ENOCOMPATPROTO: c_int = OWN + 52;
pub const ETERM: c_int = OWN + 53;
pub const EMTHREAD: c_int = OWN + 54;

/// `code`, or the nearest to it that the crate `zmq` has a name for. That crate panics at all others,
/// and a system may well say them: where it has no IPv6, or no descriptors left at all.
pub(crate) fn known(code: c_int) -> c_int {
    match code {
        libc::EPERM => EACCES,
        libc::ENFILE => EMFILE,
        libc::EAFNOSUPPORT => EPROTONOSUPPORT,
        libc::ENETUNREACH => EHOSTUNREACH,
        libc::ENOSPC => ENOBUFS,
        EACCES | EADDRINUSE | EADDRNOTAVAIL | EAGAIN | EBUSY | ECONNREFUSED | EFAULT
        | EHOSTUNREACH | EINPROGRESS | EINTR | EINVAL | EMFILE | EMSGSIZE | ENAMETOOLONG
        | ENETDOWN | ENOBUFS | ENODEV | ENOENT | ENOMEM | ENOTCONN | ENOTSOCK | ENOTSUP
        | EPROTO | EPROTONOSUPPORT | ENOTSUP_ALT | EPROTONOSUPPORT_ALT | ENOBUFS_ALT
        | ENETDOWN_ALT | EADDRINUSE_ALT | EADDRNOTAVAIL_ALT | ECONNREFUSED_ALT
        | EINPROGRESS_ALT | ENOTSOCK_ALT | EMSGSIZE_ALT | EFSM | ENOCOMPATPROTO | ETERM
        | EMTHREAD => code,
        _ => EINVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_one_that_the_crate_zmq_knows() {
        for code in (0..256).chain(OWN..OWN + 256) {
            let error = zmq::Error::from_raw(known(code));
            assert!(!error.message().is_empty());
        }
        assert_eq!(known(libc::EAFNOSUPPORT), libc::EPROTONOSUPPORT);
        assert_eq!(known(libc::EAGAIN), libc::EAGAIN);
        assert_eq!(known(ETERM), ETERM);
    }
}
