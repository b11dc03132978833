;; A summary that is as long as the rest of the first page of memory.
(data (i32.const 1000) "\80\02\00\00\05\00\00\00\85\02\00\00\05\00\00\00\00\10\00\00\00\e0\00\00")
(func (export "kv:placement/strategy@0.2.0#describe") (result i32)
  (i32.const 1000))
(func (export "kv:placement/strategy@0.2.0#assign") (type $assign)
  unreachable)
