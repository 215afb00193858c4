//! Lines of containers on a node of Kubernetes: CRI's or Docker's, told apart by line, what their origin says of the pod, and the
//! message decoded where that is asked for.
//!
//! ```text
//! 2026-01-01T00:00:00Z stdout F {"level":"info"}      text  → timestamp, stream, message, kubernetes
//!                                                     json  → level, timestamp, stream, kubernetes
//! ```
//!
//! What all events of a batch have in common ([`Shared`](crate::event::Shared)) is written into the batch once; each event refers to it. A field of the
//! message goes before the line's own of the same name; what is shared goes before both. A message that cannot be decoded is
//! kept as text with the rest, and what is told is the decoder's reason.

use super::cri::CriDecoder;
use super::docker::DockerDecoder;
use super::keys::KeyCache;
use super::{DecodeSetting, FrameDecoder};
use crate::ack::Ack;
use crate::event::{Batch, Origin, Slab, Sym, json};
use crate::framing::container::{cri, docker};
use crate::time::Zone;
use std::sync::Arc;

/// Names of the fields that a line has by itself.
#[derive(Clone, Copy, Debug)]
pub struct LineNames {
    /// When it was written.
    pub timestamp: Sym,
    /// `stdout` or `stderr`.
    pub stream: Sym,
    /// What was written.
    pub message: Sym,
}

/// The words of `decode` that a pod may ask for.
pub const POD_WORDS: [&str; 12] = [
    "text",
    "json",
    "logfmt",
    "syslog",
    "access",
    "auto",
    "klog",
    "nginx_error",
    "apache_error",
    "haproxy",
    "postgresql",
    "mysql",
];

/// Decodes lines of containers.
pub struct KubernetesDecoder {
    names: LineNames,
    /// What messages are decoded with where the pod says nothing; `None` for text.
    default: Option<Box<dyn FrameDecoder>>,
    /// By the word that pods ask for, once one did; `None` for text.
    asked: Vec<(Arc<str>, Option<Box<dyn FrameDecoder>>)>,
    zone: Zone,
    scanner: json::Scanner,
    others: Vec<json::Member>,
    keys: KeyCache,
}

/// Which decoder a batch's messages have.
enum Inner {
    Text,
    Default,
    Asked(usize),
}

impl KubernetesDecoder {
    /// `decode`: what messages are decoded as, where the pod says nothing.
    ///
    /// Errors: none for settings that were read.
    pub fn new(names: LineNames, decode: &DecodeSetting, zone: Zone) -> Result<Self, crate::error::BuildError> {
        let text = matches!(decode, DecodeSetting::Text);
        let default = if text { None } else { Some(decode.decoder(&zone)?) };
        Ok(KubernetesDecoder {
            names,
            default,
            asked: Vec::new(),
            zone,
            scanner: json::Scanner::default(),
            others: Vec::new(),
            keys: KeyCache::default(),
        })
    }

    fn inner(&mut self, origin: &Origin) -> Inner {
        let Some(word) = origin.shared.as_ref().and_then(|shared| shared.decode.as_ref()) else {
            return if self.default.is_some() { Inner::Default } else { Inner::Text };
        };
        if let Some(n) = self.asked.iter().position(|(known, _)| Arc::ptr_eq(known, word) || known == word) {
            return Inner::Asked(n);
        }
        let decoder = setting_of(word).and_then(|setting| setting.decoder(&self.zone).ok());
        self.asked.push((word.clone(), decoder));
        Inner::Asked(self.asked.len() - 1)
    }

    /// A line of CRI: messages are decoded where they stand.
    fn cri(
        &mut self,
        batch: &mut Batch,
        (start, end): (usize, usize),
        offset: u64,
        inner: &Inner,
    ) -> Result<(), &'static str> {
        let line = cri::parse(&batch.text()[start..end])?;
        let first = batch.rows();
        let decoder = match inner {
            Inner::Text => None,
            Inner::Default => self.default.as_mut(),
            Inner::Asked(n) => self.asked[*n].1.as_mut(),
        };
        let (from, to) = (start + line.message.start, start + line.message.end);
        let span = |span: crate::framing::span::Span| (start + span.start, start + span.end);
        let (timestamp, stream) = (span(line.timestamp), span(line.stream));
        if let Some(decoder) = decoder {
            decoder.decode(batch, from, to, offset)?;
            for row in first..batch.rows() {
                for (key, (from, to)) in [(self.names.timestamp, timestamp), (self.names.stream, stream)] {
                    if batch.event(row).position(key).is_none() {
                        batch.event_mut(row).push_clean(key, from, to);
                    }
                }
            }
            return Ok(());
        }
        batch.push_line(start, end, offset);
        let clean = json::ValueKind::Clean;
        batch.push_span_field(self.names.timestamp, clean, timestamp.0, timestamp.1);
        batch.push_span_field(self.names.stream, clean, stream.0, stream.1);
        batch.push_text_field(self.names.message, from, to);
        Ok(())
    }

    /// A line of Docker's.
    fn docker(
        &mut self,
        batch: &mut Batch,
        (start, end): (usize, usize),
        offset: u64,
        inner: &Inner,
    ) -> Result<(), &'static str> {
        let KubernetesDecoder { names, default, asked, scanner, others, keys, .. } = self;
        others.clear();
        let line = docker::parse(scanner, &batch.text()[start..end], |member| others.push(member))?;
        let decoder = match inner {
            Inner::Text => None,
            Inner::Default => default.as_mut(),
            Inner::Asked(n) => asked[*n].1.as_mut(),
        };
        let found = match decoder {
            None => None,
            Some(decoder) => Some(unescaped(&mut **decoder, batch, (start, line.message), line.escaped)?),
        };
        let row = batch.push_line(start, end, offset);
        batch.push_text_field(names.timestamp, start + line.timestamp.start, start + line.timestamp.end);
        batch.push_text_field(names.stream, start + line.stream.start, start + line.stream.end);
        if found.is_none() {
            let kind = if line.escaped { json::ValueKind::Escaped } else { json::ValueKind::Clean };
            batch.push_span_field(names.message, kind, start + line.message.start, start + line.message.end);
        }
        for (n, member) in others.iter().enumerate() {
            let key = &batch.text()[start + member.key..start + member.key_end];
            match keys.get(n, key).filter(|key| batch.event(row).position(*key).is_none()) {
                Some(key) => batch.push_span_field(key, member.kind, start + member.value, start + member.value_end),
                None => continue,
            }
        }
        if let Some(found) = found {
            for event in found.iter() {
                for (key, value) in event.fields() {
                    match std::str::from_utf8(key).ok().and_then(Sym::from_input) {
                        Some(key) => batch.event_mut(row).set_field(key, value),
                        None => _ = batch.event_mut(row).push_text(key, value),
                    }
                }
            }
            found.recycle();
        }
        Ok(())
    }
}

/// What is decoded of a message that stands in JSON.
fn unescaped(
    decoder: &mut dyn FrameDecoder,
    batch: &Batch,
    (start, message): (usize, crate::framing::span::Span),
    escaped: bool,
) -> Result<Batch, &'static str> {
    let text = &batch.text()[start + message.start..start + message.end];
    let mut plain = Vec::with_capacity(text.len());
    match escaped {
        true => json::unescape(text, &mut plain),
        false => plain.extend_from_slice(text),
    }
    let len = plain.len();
    let mut found = Batch::recycled(Slab::from_vec(plain), batch.origin.clone(), batch.received_at, Ack::none());
    decoder.decode(&mut found, 0, len, 0)?;
    Ok(found)
}

/// What a pod's word asks for.
fn setting_of(word: &str) -> Option<DecodeSetting> {
    Some(match word {
        "json" => DecodeSetting::Json,
        "logfmt" => DecodeSetting::Logfmt,
        "syslog" => DecodeSetting::Syslog,
        "access" => DecodeSetting::access(),
        "auto" => DecodeSetting::Auto,
        "klog" => DecodeSetting::Klog,
        "nginx_error" => DecodeSetting::NginxError,
        "apache_error" => DecodeSetting::ApacheError,
        "haproxy" => DecodeSetting::Haproxy,
        "postgresql" => DecodeSetting::Postgresql,
        "mysql" => DecodeSetting::Mysql,
        _ => return None,
    })
}

impl FrameDecoder for KubernetesDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let first = batch.rows();
        let inner = self.inner(&batch.origin);
        match batch.text().get(start) {
            Some(b'{') => self.docker(batch, (start, end), offset, &inner)?,
            _ => self.cri(batch, (start, end), offset, &inner)?,
        }
        batch.push_shared_fields(first);
        Ok(())
    }

    fn push_refused(&self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> usize {
        let first = batch.rows();
        let plain: Result<(), _> = match batch.text().get(start) {
            Some(b'{') => DockerDecoder::default().decode(batch, start, end, offset),
            _ => CriDecoder.decode(batch, start, end, offset),
        };
        if plain.is_err() {
            batch.push_line(start, end, offset);
            batch.push_text_field(self.names.message, start, end);
        }
        for (from, to) in [
            (Sym::TIMESTAMP, self.names.timestamp),
            (Sym::STREAM, self.names.stream),
            (Sym::MESSAGE, self.names.message),
        ] {
            if from != to
                && let Some(at) = batch.event(first).position(from)
            {
                batch.event_mut(first).rename_at(at, to);
            }
        }
        batch.push_shared_fields(first);
        first
    }

    fn has_escapes(&self, frame: &[u8]) -> bool {
        super::is_object(frame)
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(KubernetesDecoder {
            names: self.names,
            default: self.default.as_ref().map(|decoder| decoder.fork()),
            asked: Vec::new(),
            zone: self.zone.clone(),
            scanner: json::Scanner::default(),
            others: Vec::new(),
            keys: KeyCache::default(),
        })
    }
}
