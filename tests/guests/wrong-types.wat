(module
  (func (export "kv:placement/strategy@0.2.0#assign") (result i32)
    (i32.const 42)))
