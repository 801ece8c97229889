//! A small façade over MLIR: contexts, modules of the `repops` dialect, and handles to change them.
//!
//! Passes are written against this module alone. Types, attributes and locations are melior's; operations, values
//! and blocks are our own handles, since passes change what they walk. All `unsafe` is in [`ffi`].

pub mod attr;
mod context;
mod ffi;
pub mod module;
pub mod ops;
pub mod origin;
pub mod tensor;

pub use context::Context;
pub use ffi::{At, Block, Key, Op, Value, attribute_key, string_text, type_key};
pub use melior::ir::{Attribute, Location, Type};
pub use module::Module;

#[cfg(test)]
mod tests {
    use repops::attrs::Attrs;
    use repops::program::Origin;

    use super::*;
    use crate::CompileError;

    fn origin(name: &str, domain: &str) -> Origin {
        Origin { name: name.into(), op_type: "Sub".into(), domain: domain.into(), opset: 14 }
    }

    #[test]
    fn modules_are_built_read_and_changed() {
        let context = Context::new();
        let text = r#"repops.program ["x"] -> ["y"] {
            ^bb0(%x: tensor<4xf32>):
              %a = repops.apply "Add" version 3 (%x, %x) with {axis = 2 : i64} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
              repops.output %a : tensor<4xf32>
            }"#;
        let mut module = Module::parse(&context, text).unwrap();
        {
            let body = module.program().unwrap().body(0).unwrap();
            let add = body.first().unwrap();
            let applied = ops::applied(add).unwrap();
            assert_eq!((applied.op, applied.version), ("Add", 3));
            assert_eq!(applied.attrs, Attrs::new().with_int("axis", 2));

            let origin = origin("/a/\"quoted\"", "ai.onnx.ml");
            let location = origin::locate(&context, &origin, 17);
            let sub = ops::Applied { op: "Sub", version: 1, attrs: Attrs::new() };
            let x = body.argument(0);
            let new = module.create_apply(At::Before(add), location, &sub, &[x, x], &[x.ty()]);
            assert_eq!(origin::origins(new.location()), [origin]);
            module.replace(add, &[new.result(0)]);
            // An erased operation can still be asked.
            assert_eq!((add.name(), add.operand_count()), (ops::APPLY, 0));
            assert!(add.block().is_none());
            assert_eq!(x.uses().len(), 2);
        }
        module.verify().unwrap();
        module.run_pipeline("builtin.module(canonicalize, cse)").unwrap();
        let text = module.to_text(true);
        assert!(text.contains(r#"loc("/a/\22quoted\22"("ai.onnx.ml::Sub":17:14))"#), "{text}");
        assert!(!text.contains("Add"), "{text}");
        assert_eq!(Module::parse(&context, &text).unwrap().to_text(true), text);
    }

    #[test]
    fn builtin_passes_see_that_operations_are_pure() {
        let context = Context::new();
        let text = r#"repops.program ["x"] -> ["y"] {
            ^bb0(%x: f32):
              %dead = repops.apply "Exp" (%x) : (f32) -> f32
              %a = repops.apply "Neg" (%x) : (f32) -> f32
              %b = repops.apply "Neg" (%x) : (f32) -> f32
              %c = repops.apply "Add" (%a, %b) : (f32, f32) -> f32
              repops.output %c : f32
            }"#;
        let mut module = Module::parse(&context, text).unwrap();
        module.run_pipeline("builtin.module(canonicalize, cse)").unwrap();
        assert_eq!(module.program().unwrap().body(0).unwrap().ops().len(), 3);
    }

    #[test]
    fn locations_fuse_flat_and_once() {
        let context = Context::new();
        let names = ["a", "b", "c", ""];
        let [a, b, c, unnamed] =
            [0, 1, 2, 3].map(|at| origin::locate(&context, &origin(names[at], ""), at as u32));
        let cb = origin::fuse(&context, [c, b]);
        let all = origin::fuse(&context, [cb, unnamed, b, origin::named(&context, "weight"), a]);
        assert_eq!(origin::origins(all), names.map(|name| origin(name, "")));
        assert_eq!(origin::fuse(&context, [a, a]), a);
    }

    #[test]
    fn broken_text_and_broken_modules_are_errors() {
        let context = Context::new();
        let program = |body: &str| format!("repops.program [\"x\"] -> [\"y\"] {{ ^bb0(%x: f32):\n{body}\n}}");
        for text in [
            "module {".to_owned(),
            "module {}\0".to_owned(),
            "unknown.op".to_owned(),
            program(""),
            program("repops.output"),
            program("repops.yield %x : f32"),
            program("%a = repops.apply \"Neg\" version 0 (%x) : (f32) -> f32\nrepops.output %a : f32"),
            program("repops.output %y : f32"),
            program(
                "%r = repops.region (%x) : (f32) -> f32 { ^bb0(%p: f32, %q: f32): repops.yield %p : f32 }\nrepops.output %r : f32",
            ),
        ] {
            match Module::parse(&context, &text) {
                Err(CompileError::Parse { diagnostics }) => assert!(!diagnostics.is_empty(), "{text}"),
                _ => panic!("accepted: {text}"),
            }
        }
        assert!(matches!(Module::new(&context).program(), Err(CompileError::NotOneProgram)));
    }
}
