//! Writes the message table as Rust statics.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// Source text: one `static` for each message and enum, one trait impl for each message.
pub(crate) fn generate(files: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    for file in &files.file {
        let package = file.package();
        let module = package.split('.').map(ToString::to_string).collect::<Vec<_>>();
        for message in &file.message_type {
            write_message(&mut out, &format!(".{package}"), &module, message)?;
        }
        for enumeration in &file.enum_type {
            write_enum(&mut out, &format!(".{package}"), enumeration)?;
        }
    }
    Ok(out)
}

fn write_message(
    out: &mut String,
    scope: &str,
    module: &[String],
    message: &DescriptorProto,
) -> Result<(), Box<dyn Error>> {
    let name = message.name();
    let full = format!("{scope}.{name}");
    let mut inner = module.to_vec();
    inner.push(name.to_snake_case());
    for nested in &message.nested_type {
        write_message(out, &full, &inner, nested)?;
    }
    for enumeration in &message.enum_type {
        write_enum(out, &full, enumeration)?;
    }

    let mut fields = message.field.iter().collect::<Vec<_>>();
    fields.sort_by_key(|field| field.number());
    if fields.len() > 64 {
        return Err(format!("`{full}` has more fields than the bit set of the walk").into());
    }
    let is_map_entry = message.options.as_ref().is_some_and(|o| o.map_entry());
    writeln!(
        out,
        "static {}: Message = Message {{ full_name: {:?}, is_map_entry: {is_map_entry}, required: {:#x}, fields: &[",
        ident(&full),
        &full[1..],
        fields
            .iter()
            .enumerate()
            .filter(|(_, field)| field.label() == Label::Required)
            .fold(0_u64, |bits, (index, _)| bits | 1 << index),
    )?;
    for field in fields {
        write_field(out, field)?;
    }
    writeln!(out, "] }};")?;
    if !is_map_entry {
        writeln!(
            out,
            "impl crate::Message for crate::{}::{} {{ const SCHEMA: &'static Message = &{}; }}",
            module.join("::"),
            name.to_upper_camel_case(),
            ident(&full),
        )?;
    }
    Ok(())
}

fn write_field(out: &mut String, field: &FieldDescriptorProto) -> Result<(), Box<dyn Error>> {
    let kind = match field.r#type() {
        Type::Bool => "Kind::Bool".to_string(),
        Type::Int32 => "Kind::Int32".to_string(),
        Type::Int64 => "Kind::Int64".to_string(),
        Type::Uint32 => "Kind::Uint32".to_string(),
        Type::Uint64 => "Kind::Uint64".to_string(),
        Type::Double => "Kind::Double".to_string(),
        Type::String => "Kind::String".to_string(),
        Type::Bytes => "Kind::Bytes".to_string(),
        Type::Enum => format!("Kind::Enum(&{})", ident(field.type_name())),
        Type::Message => format!("Kind::Message(&{})", ident(field.type_name())),
        other @ (Type::Float
        | Type::Fixed32
        | Type::Fixed64
        | Type::Sfixed32
        | Type::Sfixed64
        | Type::Sint32
        | Type::Sint64
        | Type::Group) => {
            return Err(format!("field `{}`: `schema::Kind` lacks {other:?}", field.name()).into());
        }
    };
    let deprecated = field.options.as_ref().is_some_and(|options| options.deprecated());
    let default = match (&field.default_value, field.r#type()) {
        (Some(text), Type::Double) => format!("Some(Default::Double({:?}))", text.parse::<f64>()?),
        (Some(text), Type::Bool) => format!("Some(Default::Bool({text}))"),
        (Some(text), Type::String) => format!("Some(Default::String({text:?}))"),
        (Some(text), Type::Enum) => format!("Some(Default::Enum({text:?}))"),
        (Some(text), Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64) => {
            format!("Some(Default::Integer({text}))")
        }
        (Some(text), other) => {
            return Err(format!("field `{}`: default `{text}` of {other:?}", field.name()).into());
        }
        (None, _) => "None".to_string(),
    };
    let label = match field.label() {
        Label::Optional => "Optional",
        Label::Required => "Required",
        Label::Repeated => "Repeated",
    };
    writeln!(
        out,
        "    Field {{ name: {:?}, number: {}, label: Label::{label}, kind: {kind}, default: {default}, deprecated: {deprecated} }},",
        field.name(),
        field.number(),
    )?;
    Ok(())
}

fn write_enum(out: &mut String, scope: &str, enumeration: &EnumDescriptorProto) -> fmt::Result {
    let full = format!("{scope}.{}", enumeration.name());
    write!(out, "static {}: Enum = Enum {{ values: &[", ident(&full))?;
    for value in &enumeration.value {
        write!(out, "({:?}, {}), ", value.name(), value.number())?;
    }
    writeln!(out, "] }};")
}

/// `.mesos.v1.Offer.Operation` → `MESOS_V1_OFFER_OPERATION`, without clashes of case.
fn ident(full: &str) -> String {
    full.trim_start_matches('.').replace('.', "__").to_uppercase()
}
