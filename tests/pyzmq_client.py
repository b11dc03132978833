"""A plain client in Python: what anybody writes who has read only the table of requests.

    python3 pyzmq_client.py tcp://127.0.0.1:2000

Talks to the node of an empty one-node cluster and fails where a reply is not the documented one.
"""

import json
import sys

import zmq

REPLY_WITHIN_MS = 30_000


def main(endpoint):
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.RCVTIMEO, REPLY_WITHIN_MS)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)

        def ask(request):
            socket.send_string(request)
            return socket.recv_string()

        reply = ask('{"op":"PUT","key":"key","value":"value"}')
        assert reply.startswith('{"key":"key","ok":true'), reply
        json.loads(reply)
        reply = ask('{"op":"GET_ONE","key":"key"}')
        assert reply == '{"key":"key","value":"value"}', reply
        reply = ask('{"op":"GET_ONE","key":"no such key"}')
        assert reply == '{"key":"no such key","value":null}', reply
        reply = ask('{"op":"GET_ALL"}')
        assert reply == '{"collection":[{"key":"key","value":"value"}]}', reply

        # json.dumps puts blanks after separators and escapes what is not ASCII.
        value = "na\u00efve \U0001f600"
        reply = json.loads(ask(json.dumps({"op": "PUT", "key": value, "value": value})))
        assert reply["ok"] is True, reply
        reply = json.loads(ask(json.dumps({"op": "GET_ONE", "key": value})))
        assert reply == {"key": value, "value": value}, reply

        # Bytes go into a second frame.
        binary = bytes(range(256))
        header = json.dumps({"op": "PUT", "key": "bytes", "value_bytes": len(binary)})
        socket.send_multipart([header.encode(), binary])
        assert json.loads(socket.recv())["ok"] is True
        socket.send_string('{"op":"GET_ONE","key":"bytes"}')
        header, body = socket.recv_multipart()
        assert header == b'{"key":"bytes","value_bytes":256}', header
        assert body == binary

        error = json.loads(ask("this is not JSON"))["error"]
        assert error["code"] == "bad_request" and error["message"], error
        reply = json.loads(ask('{"op":"DELETE","key":"key"}'))
        assert reply == {"key": "key", "ok": True, "existed": True}, reply


if __name__ == "__main__":
    main(sys.argv[1])
