//! What lets the thread that owns the sockets do the work of libzmq's I/O thread.
//!
//! libzmq hands every message from the caller's thread to its I/O thread and back, and each of these hand-overs
//! wakes a thread up, which costs more than the message does. Here the I/O thread's poller can be taken by
//! a thread that then does its work in turns of its own, and given back. Who has the poller holds its lock while it
//! works, so that all its objects are still used by one thread at a time. A context that ends takes it back.

use crate::mends::Mend;

/// Where libzmq's poller is epoll, which is on Linux; elsewhere nothing can be taken.
pub(crate) const IO_TURNS: &[Mend] = &[
    Mend {
        file: "epoll.hpp",
        wrong: "#include \"mutex.hpp\"\n",
        right: "#include \"mutex.hpp\"\n#include <condition_variable>\n#include <mutex>\n",
    },
    Mend {
        file: "epoll.hpp",
        wrong: "    static int max_fds ();

  private:
",
        right: "    static int max_fds ();

    //  Has the worker thread rest, and gives the descriptor to wait for.
    int take ();
    //  Has the worker thread work again.
    void give_back ();
    //  Does what there is to do, without waiting. Returns the milliseconds until
    //  the next timer, 0 where there is none, -1 where the poller is not taken.
    long work ();

  private:
    //  Held by the thread that works.
    std::mutex _turn;
    std::condition_variable _given_back;
    bool _taken;
    //  How often events were handled by a thread that has taken the poller.
    uint64_t _turns;

    void handle (epoll_event *ev_buf, int n);
",
    },
    Mend {
        file: "epoll.cpp",
        wrong: "    worker_poller_base_t (ctx_)
{
",
        right: "    worker_poller_base_t (ctx_), _taken (false), _turns (0)
{
",
    },
    Mend {
        file: "epoll.cpp",
        wrong: "void zmq::epoll_t::loop ()
{
    epoll_event ev_buf[max_io_events];

    while (true) {
        //  Execute any due timers.
",
        right: "int zmq::epoll_t::take ()
{
    std::lock_guard<std::mutex> turn (_turn);
    _taken = true;
    return _epoll_fd;
}

void zmq::epoll_t::give_back ()
{
    std::lock_guard<std::mutex> turn (_turn);
    _taken = false;
    _given_back.notify_one ();
}

long zmq::epoll_t::work ()
{
    epoll_event ev_buf[max_io_events];
    std::lock_guard<std::mutex> turn (_turn);
    if (!_taken)
        return -1;
    const long timeout = static_cast<long> (execute_timers ());
    const int n = epoll_wait (_epoll_fd, &ev_buf[0], max_io_events, 0);
    if (n == -1)
        errno_assert (errno == EINTR);
    if (n > 0) {
        ++_turns;
        handle (ev_buf, n);
    }
    return timeout;
}

void zmq::epoll_t::loop ()
{
    epoll_event ev_buf[max_io_events];
    std::unique_lock<std::mutex> turn (_turn);

    while (true) {
        while (_taken)
            _given_back.wait (turn);

        //  Execute any due timers.
",
    },
    Mend {
        file: "epoll.cpp",
        wrong: "        const int n = epoll_wait (_epoll_fd, &ev_buf[0], max_io_events,
                                  timeout ? timeout : -1);
        if (n == -1) {
            errno_assert (errno == EINTR);
            continue;
        }

",
        right: "        const uint64_t turns = _turns;
        turn.unlock ();
        const int n = epoll_wait (_epoll_fd, &ev_buf[0], max_io_events,
                                  timeout ? timeout : -1);
        const int error = errno;
        turn.lock ();
        if (n == -1) {
            errno = error;
            errno_assert (errno == EINTR);
            continue;
        }
        //  What these events are of may be gone by now. Where there is still
        //  something to do, they come again.
        if (_taken || turns != _turns)
            continue;
        handle (ev_buf, n);
    }
}

void zmq::epoll_t::handle (epoll_event *ev_buf, int n)
{
    {
",
    },
    // The lock says now which thread may work.
    Mend {
        file: "poller_base.cpp",
        wrong: "    zmq_assert (!_worker.get_started () || _worker.is_current_thread ());\n",
        right: "",
    },
    // A context that ends waits for what its I/O thread has to do.
    Mend {
        file: "ctx.cpp",
        wrong: "int zmq::ctx_t::terminate ()
{
    _slot_sync.lock ();
",
        right: "int zmq::ctx_t::terminate ()
{
    _slot_sync.lock ();
#if defined ZMQ_IOTHREAD_POLLER_USE_EPOLL
    for (io_threads_t::size_type i = 0; i != _io_threads.size (); i++)
        _io_threads[i]->get_poller ()->give_back ();
#endif
",
    },
    Mend {
        file: "socket_base.hpp",
        wrong: "    int close ();

",
        right: "    int close ();

    //  What does the input and output of a context that has one I/O thread.
    poller_t *io_poller () const;

",
    },
    Mend {
        file: "socket_base.cpp",
        wrong: "int zmq::socket_base_t::close ()
{
",
        right: "zmq::poller_t *zmq::socket_base_t::io_poller () const
{
    io_thread_t *const io_thread = choose_io_thread (options.affinity);
    return io_thread ? io_thread->get_poller () : NULL;
}

int zmq::socket_base_t::close ()
{
",
    },
    Mend {
        file: "zmq.cpp",
        wrong: "int zmq_close (void *s_)
{
",
        right: "#if defined ZMQ_IOTHREAD_POLLER_USE_EPOLL
static zmq::poller_t *io_poller_of (void *s_)
{
    zmq::socket_base_t *s = as_socket_base_t (s_);
    return s ? s->io_poller () : NULL;
}

extern \"C\" int kv_zmq_io_take (void *s_)
{
    zmq::poller_t *poller = io_poller_of (s_);
    return poller ? poller->take () : -1;
}

extern \"C\" void kv_zmq_io_give_back (void *s_)
{
    zmq::poller_t *poller = io_poller_of (s_);
    if (poller)
        poller->give_back ();
}

extern \"C\" long kv_zmq_io_work (void *s_)
{
    zmq::poller_t *poller = io_poller_of (s_);
    return poller ? poller->work () : -1;
}
#else
extern \"C\" int kv_zmq_io_take (void *)
{
    return -1;
}

extern \"C\" void kv_zmq_io_give_back (void *)
{
}

extern \"C\" long kv_zmq_io_work (void *)
{
    return -1;
}
#endif

int zmq_close (void *s_)
{
",
    },
];
