//! Sets `loom` for this crate alone: as a compiler flag it would hold for every dependency too.

fn main() {
    println!("cargo::rustc-cfg=loom");
}
