//! SVG to PNG. This is the only file that names the renderer and the letters.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// A picture that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the picture cannot be drawn: {0}")]
pub struct RenderError(String);

/// The letters of every picture: "Ubuntu Light" (Ubuntu Font Licence 1.0), as part of the program, so
/// that no picture depends on what a machine has installed.
static LETTERS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut letters = fontdb::Database::new();
    letters.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    Arc::new(letters)
});

/// The bytes of the PNG of `svg`, `scale` times as large.
pub(super) fn png(svg: &str, scale: f64) -> Result<Vec<u8>, RenderError> {
    let options = Options { fontdb: Arc::clone(&LETTERS), ..Options::default() };
    let failed = |error: &dyn std::fmt::Display| RenderError(error.to_string());
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(&error))?;
    let scale = scale as f32;
    let size =
        tree.size().to_int_size().scale_by(scale).ok_or_else(|| failed(&"it has no size"))?;
    let mut pixels = Pixmap::new(size.width(), size.height())
        .ok_or_else(|| failed(&"there is not enough memory"))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| failed(&error))
}
