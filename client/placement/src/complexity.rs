//! What a component is made of, read without compiling it.
//!
//! A compiler takes thousands of times longer for some code than for other code of the same length, and
//! cannot be stopped. So the work that a component would be to it is estimated first, in a single pass.

use wasmparser::{BinaryReaderError, BlockType, FunctionBody, Operator, Parser, Payload};

use super::check::printable;
use super::error::StrategyFault;
use super::limits::{COMPILE_WORK_MAX, FUNCTION_WORK_MAX, PARTS_MAX, TYPES_BYTES_MAX};

// The work of ordinary instructions, which is 1, is about 3 microseconds and 150 bytes of the compiler's
// memory; the others are what they were measured to be beside them, and more where the compiler is worse
// than linear. See `benches/compile.rs`.

/// A byte that is neither code nor data: of names, constants and component types.
const WORK_OF_BYTE: u64 = 4;
/// A byte of the types of functions, for each of which there is code that calls them.
const WORK_OF_TYPE_BYTE: u64 = 40;
const WORK_OF_FUNCTION: u64 = 96;
const WORK_OF_CALL: u64 = 4;
const WORK_OF_INDIRECT_CALL: u64 = 12;
/// A place where code comes together, at which every local variable has to be somewhere.
const WORK_OF_BLOCK: u64 = 4;
const WORK_OF_LOOP: u64 = 24;
/// How many blocks a loop counts for, since its variables come together with themselves.
const BLOCKS_OF_LOOP: u64 = 4;
/// A block that takes or gives several values, of which it does not say how many.
const WORK_OF_WIDE_BLOCK: u64 = 400;
/// What the compiler has a function of its own called for.
const WORK_OF_BULK: u64 = 32;
/// A piece of memory or of a table that is there from the beginning.
const WORK_OF_SEGMENT: u64 = 512;
/// So many pairs of a block and a variable are as much work as an instruction.
const PAIRS_PER_WORK: u64 = 8;
/// How many blocks have a variable that is not among the local ones.
const BLOCKS_PER_VARIABLE: u64 = 32;

/// A component's imports, exports and compile work, read before it is compiled. Names are safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complexity {
    /// What it wants; a strategy wants nothing.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
    /// The work that it is to the compiler, in units of about one ordinary instruction: at most
    /// [`COMPILE_WORK_MAX`].
    pub compile_work: u64,
}

/// Reads a component from its beginning to its end.
///
/// # Errors
/// The bytes are no component, or would be too much work to compile.
pub(super) fn read(bytes: &[u8]) -> Result<Complexity, StrategyFault> {
    let malformed =
        |error: BinaryReaderError| StrategyFault::Compile { reason: printable(&error.to_string()) };
    let mut complexity = Complexity { imports: Vec::new(), exports: Vec::new(), compile_work: 0 };
    let (mut parts, mut depth) = (0, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(malformed)?;
        let work = work_of(&payload).map_err(malformed)?;
        complexity.compile_work = complexity.compile_work.saturating_add(work);
        limit("it is", complexity.compile_work, COMPILE_WORK_MAX, WORK)?;
        match payload {
            Payload::Version { .. } => {
                (parts, depth) = (parts + 1, depth + 1);
                limit("it has", parts, PARTS_MAX, "modules and components")?;
            }
            Payload::End(_) => depth -= 1,
            Payload::CodeSectionEntry(_) => {
                limit("one of its functions is", work, FUNCTION_WORK_MAX, WORK)?;
            }
            Payload::ComponentTypeSection(types) => {
                let bytes = types.range().len() as u64;
                limit("it has", bytes, TYPES_BYTES_MAX, "bytes of component types in a row")?;
            }
            // Those of a component within it are not those of the whole.
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    complexity.imports.push(printable(import.map_err(malformed)?.name.name));
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    complexity.exports.push(printable(export.map_err(malformed)?.name.name));
                }
            }
            _ => {}
        }
    }
    Ok(complexity)
}

/// Of what there is more than there may be, for people.
const WORK: &str =
    "instructions to compile, where calls, branches and bulk operations count several times";

fn limit(what: &'static str, got: u64, max: u64, of: &'static str) -> Result<(), StrategyFault> {
    if got > max { Err(StrategyFault::TooComplex { what, max, of }) } else { Ok(()) }
}

/// The work that one part of a component is, without the parts of that part.
fn work_of(payload: &Payload<'_>) -> Result<u64, BinaryReaderError> {
    let bytes = |bytes: usize, work: u64| bytes as u64 * work;
    Ok(match payload {
        Payload::CodeSectionEntry(body) => work_of_function(body)?,
        Payload::TypeSection(types) => bytes(types.range().len(), WORK_OF_TYPE_BYTE),
        Payload::DataSection(segments) => u64::from(segments.count()) * WORK_OF_SEGMENT,
        Payload::ElementSection(segments) => {
            u64::from(segments.count()) * WORK_OF_SEGMENT
                + bytes(segments.range().len(), WORK_OF_BYTE)
        }
        Payload::CustomSection(_)
        | Payload::CodeSectionStart { .. }
        | Payload::ModuleSection { .. }
        | Payload::ComponentSection { .. } => 0,
        other => other.as_section().map_or(0, |(_, range)| bytes(range.len(), WORK_OF_BYTE)),
    })
}

fn work_of_function(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut locals: u64 = 0;
    for group in body.get_locals_reader()? {
        locals += u64::from(group?.0);
    }
    let (mut work, mut blocks) = (WORK_OF_FUNCTION + locals, 1_u64);
    for operator in body.get_operators_reader()? {
        work += match operator? {
            Operator::Block { blockty: BlockType::FuncType(_) }
            | Operator::Loop { blockty: BlockType::FuncType(_) }
            | Operator::If { blockty: BlockType::FuncType(_) } => {
                blocks += BLOCKS_OF_LOOP;
                WORK_OF_WIDE_BLOCK
            }
            Operator::Block { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::Br { .. }
            | Operator::BrIf { .. } => {
                blocks += 1;
                WORK_OF_BLOCK
            }
            Operator::Loop { .. } => {
                blocks += BLOCKS_OF_LOOP;
                WORK_OF_LOOP
            }
            Operator::BrTable { targets } => {
                blocks += u64::from(targets.len());
                WORK_OF_BLOCK * u64::from(targets.len())
            }
            Operator::Call { .. } => WORK_OF_CALL,
            Operator::CallIndirect { .. } => WORK_OF_INDIRECT_CALL,
            Operator::MemoryGrow { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::DataDrop { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::TableGet { .. }
            | Operator::TableSet { .. }
            | Operator::RefFunc { .. }
            | Operator::ElemDrop { .. } => WORK_OF_BULK,
            _ => 1,
        };
    }
    let variables = locals + blocks / BLOCKS_PER_VARIABLE;
    Ok(work.saturating_add(blocks.saturating_mul(variables) / PAIRS_PER_WORK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, StrategyHost, StrategySource};

    fn text(component: &str) -> Result<Complexity, StrategyFault> {
        read(&wat::parse_str(component).unwrap())
    }

    #[test]
    fn strategies_are_far_below_the_limit() {
        for name in StrategySource::built_in_names() {
            let bytes = name.parse::<StrategySource>().unwrap().read().unwrap();
            let work = read(&bytes).unwrap().compile_work;
            assert!((10_000..COMPILE_WORK_MAX * 2 / 5).contains(&work), "{name}: {work}");
        }
    }

    #[test]
    fn imports_and_exports_are_those_of_the_whole() {
        let inner = r#"(component (import "inner" (func)) (export "inside" (func 0)))"#;
        let whole =
            format!(r#"(component (import "outer" (func)) {inner} (export "outside" (func 0)))"#);
        let Complexity { imports, exports, .. } = text(&whole).unwrap();
        assert_eq!((imports, exports), (vec!["outer".to_owned()], vec!["outside".to_owned()]));
    }

    #[test]
    fn the_work_is_limited_exactly() {
        let module = |count: usize| {
            let function = format!("(func {})", "nop ".repeat(1_000));
            format!("(component (core module {}))", function.repeat(count))
        };
        let one = text(&module(2)).unwrap().compile_work - text(&module(1)).unwrap().compile_work;
        // A function's own weight, its instructions and their end; and its type, which is a number.
        assert_eq!(one, WORK_OF_FUNCTION + 1_001 + WORK_OF_BYTE);
        let most = (COMPILE_WORK_MAX / one) as usize;
        assert!(text(&module(most - 1)).is_ok());
        let error = text(&module(most + 1)).err().unwrap();
        assert!(matches!(error, StrategyFault::TooComplex { what: "it is", .. }), "{error}");
    }

    #[test]
    fn the_work_of_one_function_is_limited() {
        let module = |count: u64| {
            let nops = "nop ".repeat(count as usize);
            format!("(component (core module (func {nops})))")
        };
        let most = FUNCTION_WORK_MAX - WORK_OF_FUNCTION - 1;
        assert!(text(&module(most)).is_ok());
        let error = text(&module(most + 1)).err().unwrap();
        assert!(
            matches!(error, StrategyFault::TooComplex { what, .. } if what != "it is"),
            "{error}"
        );
    }

    /// A section of bytes that is no longer than 16 KiB.
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len() as u16;
        let leb = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
        [&[id][..], &leb, content].concat()
    }

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    /// The engine reads types in types by calling itself, which needs 3 KiB of stack for each.
    #[test]
    fn types_in_types_do_not_exhaust_the_stack() {
        // An instance type that declares a type, and so on; the last one declares nothing.
        let nested = |depth: usize| {
            let types = [&[1][..], &[0x42, 1, 1].repeat(depth), &[0x42, 0]].concat();
            [EMPTY, &section(7, &types)].concat()
        };
        let most = (TYPES_BYTES_MAX as usize - 3) / 3;
        let error = read(&nested(most + 1)).err().unwrap();
        assert!(matches!(error, StrategyFault::TooComplex { .. }), "{error}");
        read(&nested(most)).unwrap();
        let host = StrategyHost::new(Cache::disabled()).unwrap();
        let error = host.load_bytes("nested", &nested(most)).unwrap_err();
        assert!(matches!(error.fault(), StrategyFault::WrongWorld { .. }), "{error}");
    }

    #[test]
    fn components_in_components_are_limited() {
        let nested = |depth: u64| {
            (1..depth).fold(EMPTY.to_vec(), |inner, _| [EMPTY, &section(4, &inner)].concat())
        };
        read(&nested(PARTS_MAX)).unwrap();
        let error = read(&nested(PARTS_MAX + 1)).err().unwrap();
        assert!(matches!(error, StrategyFault::TooComplex { .. }), "{error}");
    }

    #[test]
    fn what_is_cut_short_is_no_component() {
        let whole = StrategySource::default().read().unwrap();
        for length in [9, 100, whole.len() / 2, whole.len() - 1] {
            assert!(matches!(read(&whole[..length]), Err(StrategyFault::Compile { .. })));
        }
    }
}
