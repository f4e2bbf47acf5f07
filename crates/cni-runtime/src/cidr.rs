//! Addresses with a prefix length, and the pod CIDRs of a node.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::error::Error;

/// An address with the length of its network prefix in bits, such as `10.1.0.5/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address, host bits included.
    pub address: IpAddr,
    /// The length of the network prefix, in bits.
    pub prefix: u8,
}

impl Cidr {
    fn bits(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// The network the address is in: the same prefix, all host bits zero.
    pub fn network(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Cidr { address, prefix: self.prefix }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("`{text}` is not an address with a prefix length such as 10.1.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let cidr =
            Cidr { address: address.parse().map_err(|_| wrong())?, prefix: prefix.parse().map_err(|_| wrong())? };
        if cidr.prefix > cidr.bits() { Err(wrong()) } else { Ok(cidr) }
    }
}

/// The address ranges the control plane gave this node for its pods: one, or one of each family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCidrs(Vec<Cidr>);

impl PodCidrs {
    /// The ranges, in the order they were given: the first decides a pod's primary address.
    pub fn ranges(&self) -> &[Cidr] {
        &self.0
    }
}

impl fmt::Display for PodCidrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, cidr) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{cidr}")?;
        }
        Ok(())
    }
}

impl FromStr for PodCidrs {
    type Err = Error;

    /// Reads what the kubelet sends in `UpdateRuntimeConfig`: one CIDR, or two of different families
    /// with a comma between them. Host bits are cleared.
    fn from_str(text: &str) -> Result<PodCidrs, Error> {
        let refuse = |reason: String| Error::PodCidr { value: text.to_owned(), reason };
        let mut ranges: Vec<Cidr> = Vec::new();
        for part in text.split(',') {
            let cidr = part.trim().parse::<Cidr>().map_err(refuse)?.network();
            check_range(cidr).map_err(refuse)?;
            if ranges.iter().any(|other| other.address.is_ipv4() == cidr.address.is_ipv4()) {
                return Err(refuse("there is more than one range of a family".to_owned()));
            }
            ranges.push(cidr);
        }
        Ok(PodCidrs(ranges))
    }
}

/// A range must hold a network, a gateway and at least one pod: host-local refuses less.
fn check_range(cidr: Cidr) -> Result<(), String> {
    if cidr.prefix > cidr.bits() - 2 {
        return Err(format!("{cidr} is too small to give a pod an address"));
    }
    let address = cidr.address;
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(format!("{cidr} is not a range for pods"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_or_one_of_each_family_is_accepted() {
        for (given, kept) in [
            ("10.244.1.0/24", "10.244.1.0/24"),
            ("10.244.1.7/24", "10.244.1.0/24"),
            ("fd00:10:244::/64", "fd00:10:244::/64"),
            ("10.244.1.0/24,fd00:10:244::5/64", "10.244.1.0/24,fd00:10:244::/64"),
            ("fd00::/64, 10.244.1.0/24", "fd00::/64,10.244.1.0/24"),
        ] {
            assert_eq!(given.parse::<PodCidrs>().unwrap().to_string(), kept);
        }
    }

    #[test]
    fn what_cannot_serve_pods_is_refused_with_the_reason() {
        for (given, reason) in [
            ("", "not an address"),
            ("10.244.1.0", "not an address"),
            ("10.244.1.0/33", "not an address"),
            ("10.244.1/24", "not an address"),
            ("10.244.1.0/31", "too small"),
            ("fd00::/127", "too small"),
            ("10.1.0.0/24,10.2.0.0/24", "more than one"),
            ("10.1.0.0/24,", "not an address"),
            ("0.0.0.0/0", "not a range for pods"),
            ("127.0.0.0/8", "not a range for pods"),
            ("ff02::/16", "not a range for pods"),
        ] {
            let error = given.parse::<PodCidrs>().unwrap_err().to_string();
            assert!(error.contains(reason), "{given}: {error}");
        }
    }
}
