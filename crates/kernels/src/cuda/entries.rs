//! The kernels that a text defines.

/// The names behind `extern "C" __global__`, in order.
pub(crate) fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split("extern \"C\" __global__ void").skip(1).map(|declaration| {
        let declaration = declaration.trim_start();
        // __launch_bounds__(256) name(arguments), or name(arguments)
        let bounds = declaration.strip_prefix("__launch_bounds__(").and_then(|rest| rest.split_once(')'));
        let name = bounds.map_or(declaration, |(_, rest)| rest);
        name.split('(').next().unwrap_or(name).trim()
    })
}
