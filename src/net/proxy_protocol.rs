//! The PROXY protocol, versions 1 and 2: what a load balancer says in front of a connection about who is behind it.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.
//!
//! The header comes before anything else, TLS included, and is read to its last byte and not further. Addresses other than
//! IP, and connections that the balancer makes for itself, keep the address they came from.

use crate::settings::config_enum;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

config_enum! {
    /// Whether connections begin with a header of the PROXY protocol.
    pub enum ProxyProtocol {
        /// They do not.
        Off = "off",
        /// Where there is one it is taken; whoever can connect can then name any address.
        Optional = "optional",
        /// All do; a connection without one is closed.
        Required = "required",
    }
}

/// How long a header may take from its first byte, and where it is required until that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest header of version 1, with its line end.
const LONGEST_LINE: usize = 107;
/// Most bytes behind the fixed part of a header of version 2 that are taken.
const MOST_FOLLOWING: usize = 4096;
/// Begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of such a header.
const FIXED: usize = 16;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// The address that a header names.
    pub peer: Option<IpAddr>,
    /// Bytes that were read and belong to no header.
    pub read: Vec<u8>,
}

/// Reads the header of a connection, if it is to have one.
///
/// Errors: the connection must be closed.
pub async fn begin(stream: &mut TcpStream, mode: ProxyProtocol) -> io::Result<Begun> {
    let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "the PROXY header did not come in time");
    match mode {
        ProxyProtocol::Off => return Ok(Begun { peer: None, read: Vec::new() }),
        ProxyProtocol::Optional => {
            // Nothing is taken that could be the beginning of TLS; silence is no fault.
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 || !matches!(first[0], b'P' | b'\r') {
                return Ok(Begun { peer: None, read: Vec::new() });
            }
        }
        ProxyProtocol::Required => {}
    }
    let mut read = Vec::new();
    let header = async {
        loop {
            match parse(&read) {
                Parsed::Header(peer) => return Ok(Begun { peer, read: Vec::new() }),
                Parsed::Needs(more) => {
                    let at = read.len();
                    read.resize(at + more, 0);
                    let got = stream.read(&mut read[at..]).await?;
                    read.truncate(at + got);
                    if got == 0 && mode == ProxyProtocol::Optional {
                        return Ok(Begun { peer: None, read: std::mem::take(&mut read) });
                    }
                    if got == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Parsed::None if mode == ProxyProtocol::Optional => {
                    return Ok(Begun { peer: None, read: std::mem::take(&mut read) });
                }
                Parsed::None => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not begin with a PROXY header"));
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, header).await.map_err(timed_out)?
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A whole header and no more; the address in it.
    Header(Option<IpAddr>),
    /// The beginning of one: so many further bytes belong to it at least.
    Needs(usize),
    /// Not one.
    None,
}

fn parse(bytes: &[u8]) -> Parsed {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(b"PROXY ") {
        return line(bytes);
    }
    if !begins(SIGNATURE) {
        return Parsed::None;
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Parsed::Needs(FIXED - bytes.len()) };
    let following = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if following > MOST_FOLLOWING || fixed[12] >> 4 != 2 || fixed[12] & 15 > 1 {
        return Parsed::None;
    }
    if bytes.len() < FIXED + following {
        return Parsed::Needs(FIXED + following - bytes.len());
    }
    // Command 0: the balancer itself, to see whether we are there.
    let addresses = &bytes[FIXED..];
    Parsed::Header(match (fixed[12] & 15, fixed[13] >> 4) {
        (1, 1) if following >= 12 => addresses.first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip).into()),
        (1, 2) if following >= 36 => {
            addresses.first_chunk::<16>().map(|ip| IpAddr::from(Ipv6Addr::from(*ip)).to_canonical())
        }
        _ => None,
    })
}

/// Version 1: `PROXY TCP4 203.0.113.7 10.0.0.1 50000 601\r\n`.
fn line(bytes: &[u8]) -> Parsed {
    if !bytes.ends_with(b"\n") {
        // Byte by byte: what follows the line is not the header's. The shortest has 15 bytes.
        return match bytes.len() {
            0..15 => Parsed::Needs(15 - bytes.len()),
            15..LONGEST_LINE if !bytes.contains(&b'\n') => Parsed::Needs(1),
            _ => Parsed::None,
        };
    }
    let text = bytes.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let Some(text) = text else { return Parsed::None };
    let mut words = text.split(' ').skip(1);
    let peer = match words.next() {
        Some("UNKNOWN") => return Parsed::Header(None),
        Some("TCP4") => words.next().and_then(|ip| ip.parse::<Ipv4Addr>().ok()).map(IpAddr::from),
        Some("TCP6") => {
            words.next().and_then(|ip| ip.parse::<Ipv6Addr>().ok()).map(|ip| IpAddr::from(ip).to_canonical())
        }
        _ => None,
    };
    // The destination and both ports.
    match (peer, words.count()) {
        (Some(peer), 3) => Parsed::Header(Some(peer)),
        _ => Parsed::None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    /// A header of version 2 with these bytes behind the fixed part.
    fn version2(command: u8, family: u8, following: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0x20 | command, family, (following.len() >> 8) as u8, following.len() as u8]);
        bytes.extend_from_slice(following);
        bytes
    }

    fn peer(ip: &str) -> Parsed {
        Parsed::Header(Some(ip.parse().unwrap()))
    }

    #[test]
    fn headers_of_both_versions_name_the_sender() {
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0xc3, 0x50, 2, 0x59];
        let mut v6 = [0; 40];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        let mut mapped = [0; 36];
        mapped[..16].copy_from_slice(&"::ffff:198.51.100.2".parse::<Ipv6Addr>().unwrap().octets());
        for (bytes, parsed) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 601\r\n".to_vec(), peer("203.0.113.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 50000 601\r\n".to_vec(), peer("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Parsed::Header(None)),
            (b"PROXY UNKNOWN ff ff 1 2\r\n".to_vec(), Parsed::Header(None)),
            (version2(1, 0x11, &v4), peer("203.0.113.7")),
            (version2(1, 0x21, &v6), peer("2001:db8::7")),
            (version2(1, 0x21, &mapped), peer("198.51.100.2")),
            (version2(0, 0x11, &v4), Parsed::Header(None)),
            (version2(1, 0x31, &[b'/'; 216]), Parsed::Header(None)),
            (version2(1, 0, b""), Parsed::Header(None)),
        ] {
            assert_eq!(parse(&bytes), parsed, "{bytes:?}");
            // Wherever it is broken off, more is wanted, and never more than there is.
            for n in 0..bytes.len() {
                let Parsed::Needs(more) = parse(&bytes[..n]) else { panic!("{:?}", parse(&bytes[..n])) };
                assert!((1..=bytes.len() - n).contains(&more), "{n}: {more}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_none() {
        for bytes in [
            &b"<13>1 - h a - - - text\n"[..],
            b"PROXI",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 50000\r\n",
            b"PROXY TCP4 203.0.113.700 10.0.0.1 50000 601\r\n",
            b"PROXY TCP4 2001:db8::7 10.0.0.1 50000 601\r\n",
            b"PROXY SCTP 203.0.113.7 10.0.0.1 50000 601\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 601\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ] {
            assert_eq!(parse(bytes), Parsed::None, "{bytes:?}");
        }
        assert_eq!(parse(format!("PROXY {}", "x".repeat(101)).as_bytes()), Parsed::None);
    }

    /// What is read of a connection on which `bytes` come, cut at `cut`; and what comes behind it.
    fn begun(mode: ProxyProtocol, bytes: &[u8], cut: usize) -> io::Result<(Begun, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let mut client = TcpStream::connect(listener.local_addr()?).await?;
            let (mut server, _) = listener.accept().await?;
            let write = async {
                client.write_all(&bytes[..cut]).await?;
                tokio::task::yield_now().await;
                client.write_all(&bytes[cut..]).await?;
                client.shutdown().await
            };
            let (begun, written) = tokio::join!(begin(&mut server, mode), write);
            written?;
            let mut rest = Vec::new();
            let begun = begun?;
            server.read_to_end(&mut rest).await?;
            Ok((begun, rest))
        })
    }

    #[test]
    fn a_header_is_taken_to_its_last_byte_and_what_is_none_is_given_back() {
        let message = b"<13>1 - h a - - - text\n";
        for header in [b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 601\r\n".to_vec(), version2(1, 0x11, &[9; 12])] {
            let bytes = [&header[..], message].concat();
            for mode in [ProxyProtocol::Optional, ProxyProtocol::Required] {
                for cut in [0, 1, 7, header.len() - 1, header.len() + 2] {
                    let (begun, rest) = begun(mode, &bytes, cut).unwrap();
                    assert!(begun.peer.is_some() && begun.read.is_empty());
                    assert_eq!(rest, message);
                }
            }
        }
        for bytes in [&message[..], b"PROXX and so on", b"\r\nlines", b"P"] {
            let (optional, rest) = begun(ProxyProtocol::Optional, bytes, 0).unwrap();
            assert_eq!((optional.peer, [optional.read, rest].concat()), (None, bytes.to_vec()));
            assert!(begun(ProxyProtocol::Required, bytes, 0).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), signed in any::<bool>()) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { [&b"PROXY "[..], &bytes].concat() };
            if let Parsed::Needs(more) = parse(&bytes) {
                prop_assert!(more > 0);
            }
        }
    }
}
