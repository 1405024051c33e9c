//! What `#[event(..)]`, `#[tag]` and `#[subject]` say, and what of `#[serde(..)]` does not go with
//! them.

use proc_macro2::{TokenStream, TokenTree};
use syn::meta::ParseNestedMeta;
use syn::parse::ParseStream;
use syn::{Attribute, Error, Field, LitInt, LitStr, Path, Result, Type};

/// Of the enum or struct itself.
#[derive(Default)]
pub struct Container {
    pub category: Option<LitStr>,
    pub codec: Option<Path>,
    pub upcasts: Option<TokenStream>,
    pub krate: Option<Path>,
    pub kind: Kind,
}

/// Of a variant, or of a struct.
#[derive(Default)]
pub struct Kind {
    pub name: Option<LitStr>,
    pub version: Option<LitInt>,
}

/// How a field labels the event.
pub struct Tag {
    pub key: Option<LitStr>,
    /// `Option`s and `Vec`s give a label for each value they hold.
    pub many: bool,
}

impl Kind {
    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        if meta.path.is_ident("name") {
            let name: LitStr = meta.value()?.parse()?;
            let text = name.value();
            if text.is_empty() || text.len() > 255 || text.starts_with('$') {
                let what = "an event type has 1 to 255 bytes and does not begin with `$`";
                return Err(Error::new(name.span(), what));
            }
            self.name = Some(name);
        } else if meta.path.is_ident("version") {
            let version: LitInt = meta.value()?.parse()?;
            if version.base10_parse::<u16>()? == 0 {
                return Err(Error::new(version.span(), "schema versions count from 1"));
            }
            self.version = Some(version);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    pub fn of_variant(attributes: &[Attribute]) -> Result<Self> {
        let mut kind = Self::default();
        for attribute in attributes.iter().filter(|it| it.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| match kind.take(&meta)? {
                true => Ok(()),
                false => Err(meta.error("a variant has `name = \"..\"` and `version = n`")),
            })?;
        }
        refuse_serde(attributes, &["skip", "skip_serializing", "skip_deserializing", "other"])?;
        Ok(kind)
    }
}

impl Container {
    pub fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut container = Self::default();
        for attribute in attributes.iter().filter(|it| it.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("category") {
                    container.category = Some(category(&meta)?);
                } else if meta.path.is_ident("codec") {
                    container.codec = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("upcasts") {
                    container.upcasts = Some(until_comma(meta.value()?)?);
                } else if meta.path.is_ident("crate") {
                    container.krate = Some(meta.value()?.parse()?);
                } else if !container.kind.take(&meta)? {
                    let what = "expected `category`, `codec`, `upcasts` or `crate`, \
                                and on a struct `name` or `version`";
                    return Err(meta.error(what));
                }
                Ok(())
            })?;
        }
        refuse_serde(attributes, &["tag", "content", "untagged"])?;
        Ok(container)
    }
}

fn category(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let category: LitStr = meta.value()?.parse()?;
    let text = category.value();
    if text.is_empty() || text.contains('-') || text.starts_with('$') {
        let what = "a category is the part of a stream's name before its first `-`";
        return Err(Error::new(category.span(), what));
    }
    Ok(category)
}

impl Tag {
    pub fn of(field: &Field) -> Result<Option<Self>> {
        let mut attributes = field.attrs.iter().filter(|it| it.path().is_ident("tag"));
        let Some(attribute) = attributes.next() else { return Ok(None) };
        let key = match &attribute.meta {
            syn::Meta::Path(_) => None,
            _ => Some(attribute.parse_args::<LitStr>()?),
        };
        if key.is_none() && field.ident.is_none() {
            let what = "a field without a name needs a key: #[tag(\"course\")]";
            return Err(Error::new_spanned(attribute, what));
        }
        Ok(Some(Self { key, many: holds_many(&field.ty) }))
    }
}

pub fn is_subject(field: &Field) -> bool {
    field.attrs.iter().any(|it| it.path().is_ident("subject"))
}

/// As serde does it: by the last word of the type.
pub fn holds_many(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let last = path.path.segments.last();
    last.is_some_and(|last| last.ident == "Option" || last.ident == "Vec")
}

/// The store keeps the type beside the data, and finds variants by their order.
fn refuse_serde(attributes: &[Attribute], words: &[&str]) -> Result<()> {
    for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if let Some(word) = words.iter().find(|word| meta.path.is_ident(word)) {
                let what = format!(
                    "an event cannot have #[serde({word})]: its type is kept beside its data, and \
                     every variant is an event type"
                );
                return Err(meta.error(what));
            }
            skip_value(&meta)
        })?;
    }
    Ok(())
}

/// Any expression; the compiler will read it.
fn until_comma(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(syn::Token![,]) {
        tokens.extend([input.parse::<TokenTree>()?]);
    }
    Ok(tokens)
}

fn skip_value(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(syn::Token![=]) {
        until_comma(meta.value()?)?;
    } else if meta.input.peek(syn::token::Paren) {
        let inside;
        syn::parenthesized!(inside in meta.input);
        inside.parse::<TokenStream>()?;
    }
    Ok(())
}
