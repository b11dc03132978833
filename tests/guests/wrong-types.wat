(module
  (func (export "kv:placement/strategy@0.1.0#assign") (result i32)
    (i32.const 42)))
