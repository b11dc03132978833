/// The most frames of a message that this libzmq takes in. The peer that sends one more is cut at once: ZeroMQ
/// keeps all frames of a message until the last one has come, and a frame of no bytes takes two on the wire and
/// 64 here.
pub const MESSAGE_FRAMES_MAX: usize = 16;
