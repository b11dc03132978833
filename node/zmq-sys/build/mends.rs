//! The faults of libzmq 4.3.5, and what is put in their place before it is compiled.
//!
//! All of it can be reached by any peer that connects.

use std::fs;
use std::path::Path;

/// A place in a file of libzmq, and what has to stand there.
pub(crate) struct Mend {
    /// The file, below `src`.
    pub(crate) file: &'static str,
    /// What stands there. It has to be there once, neither more often nor not at all.
    pub(crate) wrong: &'static str,
    /// What has to stand there.
    pub(crate) right: &'static str,
}

impl Mend {
    /// Changes the file in the source tree at `source`.
    pub(crate) fn apply(&self, source: &Path) {
        let path = source.join(self.file);
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let found = text.matches(self.wrong).count();
        assert_eq!(
            found,
            1,
            "this libzmq is not the one that the mends are for: expected once in {}, found {found} times:\n{}",
            path.display(),
            self.wrong,
        );
        fs::write(&path, text.replacen(self.wrong, self.right, 1))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}

pub(crate) const MENDS: &[Mend] = &[
    // A ROUTER gives peers without a routing id one that begins with 0, which the protocol keeps for
    // it. It took such ids from peers too; one that claimed an id that was to be given next ended
    // the process, and one that claimed an id that had been given got another's replies. An id longer
    // than the protocol's 255 bytes, of which one is put before every message, is not taken either.
    // Nor is any id where the ROUTER is told of messages that reach no peer (ZMQ_ROUTER_MANDATORY) and
    // hands no ids over (ZMQ_ROUTER_HANDOVER): there the second peer of an id was never served, and one
    // that came after the first was gone got what was meant for that.
    Mend {
        file: "router.cpp",
        wrong: "        if (msg.size () == 0) {\n",
        right: "        if (msg.size () == 0 || msg.size () > 255
            || *static_cast<unsigned char *> (msg.data ()) == 0
            || (_mandatory && !_handover)) {\n",
    },
    // Its numbers begin anew after 2^32 connections, and the first of them may still be there.
    Mend {
        file: "router.cpp",
        wrong: "            //  Fall back on the auto-generation
            unsigned char buf[5];
            buf[0] = 0;
            put_uint32 (buf + 1, _next_integral_routing_id++);
            routing_id.set (buf, sizeof buf);
",
        right: "            unsigned char buf[5];
            buf[0] = 0;
            do {
                put_uint32 (buf + 1, _next_integral_routing_id++);
                routing_id.set (buf, sizeof buf);
            } while (has_out_pipe (routing_id));
",
    },
    // A peer that another takes the routing id of (ZMQ_ROUTER_HANDOVER) gets one of those numbers. It
    // also counted as one that takes messages, even if it had stopped to; when it took some again
    // before it was gone, an assertion ended the process.
    Mend {
        file: "router.cpp",
        wrong: "                put_uint32 (buf + 1, _next_integral_routing_id++);
                blob_t new_routing_id (buf, sizeof buf);

                pipe_t *const old_pipe = existing_outpipe->pipe;
",
        right: "                blob_t new_routing_id;
                do {
                    put_uint32 (buf + 1, _next_integral_routing_id++);
                    new_routing_id.set (buf, sizeof buf);
                } while (has_out_pipe (new_routing_id));

                pipe_t *const old_pipe = existing_outpipe->pipe;
                const bool old_active = existing_outpipe->active;
",
    },
    Mend {
        file: "router.cpp",
        wrong: "                add_out_pipe (ZMQ_MOVE (new_routing_id), old_pipe);
",
        right: "                add_out_pipe (ZMQ_MOVE (new_routing_id), old_pipe);
                lookup_out_pipe (old_pipe->get_routing_id ())->active =
                  old_active;
",
    },
    // A connection may be broken while messages of it wait for the socket to take them. A heartbeat
    // that fell due then, or a PING among those messages, ended the process.
    Mend {
        file: "stream_engine_base.cpp",
        wrong: "void zmq::stream_engine_base_t::out_event ()
{
    zmq_assert (!_io_error);
",
        right: "void zmq::stream_engine_base_t::out_event ()
{
    if (unlikely (_io_error))
        return;
",
    },
    // ZMTP 3.0 knows no PING; a peer that says 3.0 answers none, and was given up for that.
    Mend {
        file: "zmtp_engine.cpp",
        wrong: "    // 16-bit TTL + \\4PING == 7
    const size_t ping_ttl_len = msg_t::ping_cmd_name_size + 2;
    zmq_assert (_mechanism != NULL);
",
        right: "    // 16-bit TTL + \\4PING == 7
    const size_t ping_ttl_len = msg_t::ping_cmd_name_size + 2;
    zmq_assert (_mechanism != NULL);

    if (_greeting_recv[revision_pos] == ZMTP_3_x
        && _greeting_recv[minor_pos] == 0) {
        _next_msg = &zmtp_engine_t::pull_and_encode;
        return pull_and_encode (msg_);
    }
",
    },
    // A PING that ends before its TTL was answered with bytes of this process's memory.
    Mend {
        file: "zmtp_engine.cpp",
        wrong: "    if (msg_->is_ping ()) {
",
        right: "    if (msg_->is_ping ()
        && msg_->size () >= static_cast<size_t> (msg_t::ping_cmd_name_size) + 2) {
",
    },
    // All frames of a message are kept until its last one has come, and neither their number nor what they
    // take in memory had a bound: a frame of no bytes takes two on the wire and 64 here. They are counted
    // where every frame passes, once it is decrypted. Only those of ZMTP 1.0 and 2.0, which know no mechanism,
    // do not pass there: a socket with a ZAP domain hangs up on such peers.
    Mend {
        file: "stream_engine_base.hpp",
        wrong: "    bool _io_error;

    //  The session this engine is attached to.
",
        right: "    bool _io_error;

    //  The frames of the message that is not whole yet.
    unsigned int _frames;

    //  The session this engine is attached to.
",
    },
    Mend {
        file: "stream_engine_base.cpp",
        wrong: "    _io_error (false),
    _session (NULL),
",
        right: "    _io_error (false),
    _frames (0),
    _session (NULL),
",
    },
    // A command between two frames of a message is no part of it.
    Mend {
        file: "stream_engine_base.cpp",
        wrong: "    if (msg_->flags () & msg_t::command) {
        process_command_message (msg_);
    }

    if (_metadata)
",
        right: "    const bool more = (msg_->flags () & msg_t::more) != 0;
    if (more || !(msg_->flags () & msg_t::command)) {
        if (_frames == MESSAGE_FRAMES_MAX) {
            errno = EMSGSIZE;
            return -1;
        }
        _frames = more ? _frames + 1 : 0;
    }

    if (msg_->flags () & msg_t::command) {
        process_command_message (msg_);
    }

    if (_metadata)
",
    },
    // A frame of 34 bytes or more kept the whole buffer of 8 KiB that it was read into, and one that came
    // alone had that for itself.
    Mend { file: "ctx.cpp", wrong: "    _zero_copy (true)\n", right: "    _zero_copy (false)\n" },
    // Where the system's library has this function too, as glibc has from 2.38 on, the name is taken there.
    // `zeromq-src` finds out whether it is; the files that are compiled again always have their own.
    Mend {
        file: "compat.hpp",
        wrong: "static inline size_t\nstrlcpy (",
        right: "#define strlcpy zmq_strlcpy\nstatic inline size_t\nstrlcpy (",
    },
];
