//! `#[derive(Event)]` for [factlog](https://docs.rs/factlog): what it does and which attributes it
//! takes is told there, at `factlog::Event`, which re-exports it behind the feature `derive`.

mod attributes;
mod expand;

use proc_macro::TokenStream;

/// Makes a serde enum or struct an event; see `factlog::Event`.
#[proc_macro_derive(Event, attributes(event, tag, subject))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::event(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
