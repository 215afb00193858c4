//! Networks in CIDR notation.

use super::node::Node;
use super::reader::Reader;
use super::scalars::read_string;
use super::schema::SchemaBuilder;
use super::setting::Setting;
use std::net::IpAddr;

/// Addresses whose first bits are the same, as CIDR writes them: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Bits that count.
    bits: u32,
}

impl Network {
    /// `10.0.0.0/8`, `fd00::/8`, or one address; `None` where it is none of these.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok().filter(|_| !bits.starts_with('+'))?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Network { address, bits })
    }

    /// Whether the address is one of them; addresses of the other version never are.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        self.bits == 0 || differ >> (128 - self.bits) == 0
    }
}

impl Setting for Network {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        let network = Network::parse(text.trim());
        if network.is_none() {
            cx.expected(node, &Self::describe());
        }
        network
    }

    fn schema(_: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": "string"})
    }

    fn describe() -> String {
        "an address or network such as `10.0.0.0/8` or `fd00::/8`".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1/128", "::1", "::2"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
        ] {
            assert!(holds(network, inside) && !holds(network, outside), "{network}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "host", "10.0.0.0/8/8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
