//! Under the feature `shim`, compiles the kernels as C++ for the CPU.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "shim")]
    shim::build();
}

#[cfg(feature = "shim")]
#[path = "src/cuda/entries.rs"]
mod entries;

#[cfg(feature = "shim")]
mod shim {
    use std::path::PathBuf;
    use std::{env, fs};

    use super::entries::entries;

    pub(crate) fn build() {
        println!("cargo::rerun-if-changed=cu");
        println!("cargo::rerun-if-changed=shim");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let (mut kernels, mut list) = (String::new(), String::new());
        let mut files: Vec<PathBuf> =
            fs::read_dir("cu").expect("cu/ can be read").map(|entry| entry.expect("cu/ can be read").path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.file_name().is_some_and(|name| name != "prelude.cu")) {
            let path = fs::canonicalize(file).expect("a file that was listed is there");
            kernels += &format!("#include \"{}\"\n", path.display());
            let text = fs::read_to_string(file).expect("a kernel's source can be read");
            entries(&text).for_each(|name| list += &format!("KERNEL({name})\n"));
        }
        fs::write(out.join("kernels.inc"), kernels).expect("OUT_DIR can be written");
        fs::write(out.join("entries.inc"), list).expect("OUT_DIR can be written");
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .file("shim/shim.cpp")
            .include(out)
            // Optimised in every profile, since tests run millions of fibers. No contraction: what rounds is what is written. A jump
            // from one fiber's stack to another's is not the mistake that fortified longjmp takes it for.
            .opt_level(2)
            .flag("-ffp-contract=off")
            .flag("-U_FORTIFY_SOURCE")
            .flag("-fno-strict-aliasing")
            .flag("-Wno-unknown-pragmas")
            .flag("-Wno-class-memaccess")
            .compile("stateset_kernels_shim");
    }
}
