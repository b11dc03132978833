//! What the crate `zmq` needs of libzmq's C interface, and libzmq itself.
//!
//! This crate stands in for the one of the same name on crates.io, which builds a libzmq without
//! CURVE, and one that any peer can end with an assertion. The build script says what it mends.
//!
//! The names, numbers and types are those of `zmq.h`, whose manual pages say what they mean:
//! <https://libzmq.readthedocs.io/>. Only what the crate `zmq` uses is here, and `kv_zmq_io_*`, which the build script adds.
#![allow(unsafe_code, reason = "it is the interface of a library in C")]
#![allow(non_camel_case_types, reason = "they are the names in its header")]
#![allow(missing_docs, reason = "the manual of each name is libzmq's own")]

use std::ffi::{c_char, c_int, c_long, c_short, c_void};

// Linked for libzmq's sake.
use libsodium_sys as _;

mod constants;
pub mod errno;

pub use constants::*;

/// The most frames of a message that this libzmq takes in. The peer that sends one more is cut at once: ZeroMQ
/// keeps all frames of a message until the last one has come, and a frame of no bytes takes two on the wire and
/// 64 here.
pub const MESSAGE_FRAMES_MAX: usize = match usize::from_str_radix(env!("MESSAGE_FRAMES_MAX"), 10) {
    Ok(frames) => frames,
    Err(_) => panic!("the build script gives a number"),
};

/// A socket of the operating system, as [`zmq_poll`] takes it.
pub type RawFd = c_int;

/// Releases what [`zmq_msg_init_data`] was given: the data, and its `hint`.
pub type zmq_free_fn = unsafe extern "C" fn(data: *mut c_void, hint: *mut c_void);

/// Room for a message, whose layout only libzmq knows.
#[repr(C)]
#[cfg_attr(target_pointer_width = "64", repr(align(8)))]
#[cfg_attr(target_pointer_width = "32", repr(align(4)))]
#[derive(Clone, Copy, Debug)]
pub struct zmq_msg_t {
    opaque: [u8; 64],
}

impl Default for zmq_msg_t {
    /// Room that is not a message yet: one of the functions that initialise has to make it one.
    fn default() -> Self {
        Self { opaque: [0; 64] }
    }
}

/// One thing to wait for with [`zmq_poll`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct zmq_pollitem_t {
    /// A socket of libzmq; null where `fd` is meant.
    pub socket: *mut c_void,
    /// A socket of the operating system.
    pub fd: RawFd,
    /// What to wait for.
    pub events: c_short,
    /// What there was.
    pub revents: c_short,
}

/// Why the last call of this thread failed: always a code that the crate `zmq` knows, since it
/// panics at any other.
///
/// # Safety
/// None is needed; it is `unsafe` as the function is that it stands for.
#[must_use]
pub unsafe fn zmq_errno() -> c_int {
    // SAFETY: it reads a number of this thread's own.
    errno::known(unsafe { raw::zmq_errno() })
}

mod raw {
    use super::c_int;

    unsafe extern "C" {
        pub(super) fn zmq_errno() -> c_int;
    }
}

unsafe extern "C" {
    // The library.
    pub fn zmq_strerror(errnum: c_int) -> *const c_char;
    pub fn zmq_version(major: *mut c_int, minor: *mut c_int, patch: *mut c_int);
    pub fn zmq_has(capability: *const c_char) -> c_int;

    // Contexts.
    pub fn zmq_ctx_new() -> *mut c_void;
    pub fn zmq_ctx_term(context: *mut c_void) -> c_int;
    pub fn zmq_ctx_set(context: *mut c_void, option: c_int, value: c_int) -> c_int;
    pub fn zmq_ctx_get(context: *mut c_void, option: c_int) -> c_int;

    // Messages.
    pub fn zmq_msg_init(msg: *mut zmq_msg_t) -> c_int;
    pub fn zmq_msg_init_size(msg: *mut zmq_msg_t, size: usize) -> c_int;
    pub fn zmq_msg_init_data(
        msg: *mut zmq_msg_t,
        data: *mut c_void,
        size: usize,
        free: Option<zmq_free_fn>,
        hint: *mut c_void,
    ) -> c_int;
    pub fn zmq_msg_send(msg: *mut zmq_msg_t, socket: *mut c_void, flags: c_int) -> c_int;
    pub fn zmq_msg_recv(msg: *mut zmq_msg_t, socket: *mut c_void, flags: c_int) -> c_int;
    pub fn zmq_msg_close(msg: *mut zmq_msg_t) -> c_int;
    pub fn zmq_msg_data(msg: *mut zmq_msg_t) -> *mut c_void;
    pub fn zmq_msg_size(msg: *const zmq_msg_t) -> usize;
    pub fn zmq_msg_more(msg: *const zmq_msg_t) -> c_int;
    pub fn zmq_msg_gets(msg: *const zmq_msg_t, property: *const c_char) -> *const c_char;

    // Sockets.
    pub fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    pub fn zmq_close(socket: *mut c_void) -> c_int;
    pub fn zmq_setsockopt(
        socket: *mut c_void,
        option: c_int,
        value: *const c_void,
        size: usize,
    ) -> c_int;
    pub fn zmq_getsockopt(
        socket: *mut c_void,
        option: c_int,
        value: *mut c_void,
        size: *mut usize,
    ) -> c_int;
    pub fn zmq_bind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub fn zmq_unbind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub fn zmq_disconnect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub fn zmq_recv(socket: *mut c_void, buffer: *mut c_void, size: usize, flags: c_int) -> c_int;
    // The build script's own (`build/io_turns.rs`), for any socket of a context that has one I/O thread.
    /// Has the I/O thread rest. Returns the descriptor that is readable while there is something to do for
    /// [`kv_zmq_io_work`]; -1 where that is not to be had.
    pub fn kv_zmq_io_take(socket: *mut c_void) -> c_int;
    /// Has the I/O thread work again.
    pub fn kv_zmq_io_give_back(socket: *mut c_void);
    /// Does the I/O thread's work that there is, without waiting. Returns in how many milliseconds there is
    /// some at the latest, 0 where that is not known, and -1 where the I/O thread does not rest.
    pub fn kv_zmq_io_work(socket: *mut c_void) -> c_long;
    pub fn zmq_socket_monitor(socket: *mut c_void, endpoint: *const c_char, events: c_int)
    -> c_int;

    // Waiting, and passing on.
    pub fn zmq_poll(items: *mut zmq_pollitem_t, count: c_int, timeout_ms: c_long) -> c_int;
    pub fn zmq_proxy(frontend: *mut c_void, backend: *mut c_void, capture: *mut c_void) -> c_int;
    pub fn zmq_proxy_steerable(
        frontend: *mut c_void,
        backend: *mut c_void,
        capture: *mut c_void,
        control: *mut c_void,
    ) -> c_int;

    // Keys.
    pub fn zmq_z85_encode(dest: *mut c_char, data: *const u8, size: usize) -> *mut c_char;
    pub fn zmq_z85_decode(dest: *mut u8, text: *const c_char) -> *mut u8;
    pub fn zmq_curve_keypair(public_key: *mut c_char, secret_key: *mut c_char) -> c_int;
}
