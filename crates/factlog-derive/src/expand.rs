//! The implementation of `Event` that is written for a type.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, Ident, Result};

use crate::attributes::{Container, Kind, Tag, holds_many, is_subject};

/// One event type: a variant of an enum, or the struct.
struct Case {
    /// `Self::Opened { .. }`, or `Self { .. }`.
    path: TokenStream,
    name: String,
    version: u16,
    tags: Vec<TokenStream>,
    tag_names: Vec<TokenStream>,
    subject: Option<(TokenStream, TokenStream)>,
}

impl Case {
    fn new(ident: &Ident, path: TokenStream, kind: &Kind, fields: &Fields) -> Result<Self> {
        let name = kind.name.as_ref().map_or_else(|| ident.to_string(), syn::LitStr::value);
        let version = kind.version.as_ref().map_or(Ok(1), syn::LitInt::base10_parse)?;
        let (tags, tag_names, subject) = (Vec::new(), Vec::new(), None);
        let mut case = Self { path, name, version, tags, tag_names, subject };
        for (at, field) in fields.iter().enumerate() {
            let member = match &field.ident {
                Some(name) => quote!(#name),
                None => {
                    let index = syn::Index::from(at);
                    quote!(#index)
                }
            };
            let bound = format_ident!("field_{at}");
            if let Some(tag) = Tag::of(field)? {
                let key = tag.key.as_ref().map(syn::LitStr::value);
                let key = key.or_else(|| field.ident.as_ref().map(ToString::to_string));
                let key = key.unwrap_or_default();
                case.tags.push(match tag.many {
                    true => quote! {
                        tags.extend(#bound.iter().map(|value| factlog::tag(#key, value)));
                    },
                    false => quote! { tags.push(factlog::tag(#key, #bound)); },
                });
                case.tag_names.push(quote! { #member: #bound });
            }
            if is_subject(field) {
                let value = match holds_many(&field.ty) {
                    true => quote! { #bound.iter().map(ToString::to_string).next() },
                    false => quote! { ::core::option::Option::Some(#bound.to_string()) },
                };
                if case.subject.replace((quote! { #member: #bound }, value)).is_some() {
                    return Err(Error::new_spanned(field, "an event has one subject"));
                }
            }
        }
        Ok(case)
    }
}

fn cases(input: &DeriveInput, own: &Kind) -> Result<Vec<Case>> {
    match &input.data {
        Data::Struct(data) => Ok(vec![Case::new(&input.ident, quote!(Self), own, &data.fields)?]),
        Data::Enum(data) => {
            if let Some(name) = &own.name {
                return Err(Error::new(name.span(), "each variant of an enum has its own name"));
            }
            if let Some(version) = &own.version {
                let what = "each variant of an enum has its own schema version";
                return Err(Error::new(version.span(), what));
            }
            let case = |variant: &syn::Variant| {
                let (ident, kind) = (&variant.ident, Kind::of_variant(&variant.attrs)?);
                Case::new(ident, quote!(Self::#ident), &kind, &variant.fields)
            };
            data.variants.iter().map(case).collect()
        }
        Data::Union(_) => Err(Error::new_spanned(input, "an event is an enum or a struct")),
    }
}

pub fn event(input: &DeriveInput) -> Result<TokenStream> {
    let container = Container::parse(&input.attrs)?;
    let cases = cases(input, &container.kind)?;
    if cases.is_empty() {
        return Err(Error::new_spanned(input, "an event has at least one variant"));
    }
    refuse_twice(input, &cases)?;
    let krate = container.krate.as_ref().map_or_else(|| quote!(::factlog), |path| quote!(#path));
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let types = cases.iter().map(|case| {
        let (name, version) = (&case.name, case.version);
        quote! { factlog::EventType::new(#name, #version) }
    });
    let indices = cases.iter().enumerate().map(|(at, case)| {
        let path = &case.path;
        quote! { #path { .. } => #at, }
    });
    let category = container.category.as_ref().map(|category| {
        quote! {
            const CATEGORY: ::core::option::Option<&'static str> =
                ::core::option::Option::Some(#category);
        }
    });
    let upcasts = container.upcasts.as_ref().map(|upcasts| {
        quote! { const UPCASTS: &'static [factlog::Upcast] = #upcasts; }
    });
    let codec =
        container.codec.as_ref().map_or_else(|| quote!(factlog::Json), |path| quote!(#path));
    let (tags, subject) = (tags(&cases), subject(&cases));
    Ok(quote! {
        const _: () = {
            use #krate as factlog;
            impl #generics factlog::Event for #ident #arguments #bounds {
                const TYPES: &'static [factlog::EventType] = &[#(#types),*];
                #category
                #upcasts
                type Codec = #codec;

                fn variant(&self) -> usize {
                    match self { #(#indices)* }
                }
                #tags
                #subject
            }
        };
    })
}

fn tags(cases: &[Case]) -> Option<TokenStream> {
    let arms: Vec<TokenStream> = cases
        .iter()
        .filter(|case| !case.tags.is_empty())
        .map(|case| {
            let Case { path, tags, tag_names, .. } = case;
            quote! { #path { #(#tag_names,)* .. } => { #(#tags)* } }
        })
        .collect();
    let rest = (arms.len() < cases.len()).then(|| quote! { _ => {} });
    (!arms.is_empty()).then(|| {
        quote! {
            fn tags(&self) -> ::std::vec::Vec<::std::string::String> {
                let mut tags = ::std::vec::Vec::new();
                match self { #(#arms)* #rest }
                tags
            }
        }
    })
}

fn subject(cases: &[Case]) -> Option<TokenStream> {
    let arms: Vec<TokenStream> = cases
        .iter()
        .filter_map(|case| {
            let (binding, value) = case.subject.as_ref()?;
            let path = &case.path;
            Some(quote! { #path { #binding, .. } => #value, })
        })
        .collect();
    let rest = (arms.len() < cases.len()).then(|| quote! { _ => ::core::option::Option::None, });
    (!arms.is_empty()).then(|| {
        quote! {
            fn subject(&self) -> ::core::option::Option<::std::string::String> {
                match self { #(#arms)* #rest }
            }
        }
    })
}

fn refuse_twice(input: &DeriveInput, cases: &[Case]) -> Result<()> {
    let names = cases.iter().map(|case| &case.name);
    let twice =
        names.clone().enumerate().find(|(at, name)| names.clone().take(*at).any(|n| n == *name));
    match twice {
        Some((_, name)) => {
            Err(Error::new_spanned(&input.ident, format!("two variants are named `{name}`")))
        }
        None => Ok(()),
    }
}
