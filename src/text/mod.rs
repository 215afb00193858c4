//! Texts on their way to people: what a terminal would act on, and what is nobody's business, taken out of them.

pub mod escape;
pub mod mask;

/// `operationName` as `operation_name`.
pub fn snake_case(camel: &str) -> String {
    let mut out = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
