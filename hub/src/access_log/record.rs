//! A request that has ended, as bytes in a ring.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytemuck::{Pod, Zeroable};

/// What is told of a request. Texts that are not asked for, or that there are none of, are
/// empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'r> {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it took.
    pub took_ns: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// How long each phase took; all 0 if that was not measured.
    pub phases_ns: [u64; 5],
    /// Where it is counted.
    pub route_index: u32,
    /// Status of the response; 0 if there was none.
    pub status: u16,
    /// The response was cut off, or there was none.
    pub is_aborted: bool,
    /// The client spoke HTTP/1.0.
    pub is_http_1_0: bool,
    /// Who asked; `None`: over a Unix socket.
    pub client: Option<SocketAddr>,
    /// The texts, in the order of [`Text`].
    pub texts: [&'r [u8]; TEXT_COUNT],
}

/// A text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Text {
    /// The method's token.
    Method,
    /// The path.
    Path,
    /// The query.
    Query,
    /// The Host field.
    Host,
    /// The worker's name.
    Worker,
    /// The request's id.
    RequestId,
    /// The trace's id.
    TraceId,
    /// The User-Agent field.
    UserAgent,
    /// The Referer field.
    Referer,
}

/// Texts of a record.
pub const TEXT_COUNT: usize = Text::Referer as usize + 1;

/// Bytes of one text; what is longer is cut off.
const TEXT_BYTES_MAX: usize = 4096;

/// A record without its texts, and their lengths.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Fixed {
    at_ms: u64,
    took_ns: u64,
    sent_bytes: u64,
    phases_ns: [u64; 5],
    client: [u8; 16],
    route_index: u32,
    status: u16,
    port: u16,
    flags: u32,
    text_bytes: [u16; TEXT_COUNT],
    reserved: [u16; 1],
}

const ABORTED: u32 = 1;
const HTTP_1_0: u32 = 2;
const TCP: u32 = 4;

impl<'r> Record<'r> {
    /// One of its texts.
    pub fn text(&self, text: Text) -> &'r [u8] {
        self.texts[text as usize]
    }

    /// Writes it behind the end of `out`, with its length before it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let texts = self
            .texts
            .map(|text| &text[..text.len().min(TEXT_BYTES_MAX)]);
        let client = self.client.map(|client| match client.ip() {
            IpAddr::V4(address) => (address.to_ipv6_mapped(), client.port()),
            IpAddr::V6(address) => (address, client.port()),
        });
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let fixed = Fixed {
            at_ms: self.at_ms,
            took_ns: self.took_ns,
            sent_bytes: self.sent_bytes,
            phases_ns: self.phases_ns,
            client: client.map_or([0; 16], |(address, _)| address.octets()),
            route_index: self.route_index,
            status: self.status,
            port: client.map_or(0, |(_, port)| port),
            flags: flag(self.is_aborted, ABORTED)
                | flag(self.is_http_1_0, HTTP_1_0)
                | flag(client.is_some(), TCP),
            text_bytes: texts.map(|text| text.len() as u16),
            reserved: [0],
        };
        let bytes = size_of::<Fixed>() + texts.iter().map(|text| text.len()).sum::<usize>();
        out.extend_from_slice(&(bytes as u32).to_ne_bytes());
        out.extend_from_slice(bytemuck::bytes_of(&fixed));
        for text in texts {
            out.extend_from_slice(text);
        }
    }

    /// Reads one that [`Record::write`] wrote, without its length.
    pub fn read(bytes: &'r [u8]) -> Self {
        let (fixed, mut rest) = bytes.split_at(size_of::<Fixed>());
        let fixed: Fixed = bytemuck::pod_read_unaligned(fixed);
        let is_set = |flag| fixed.flags & flag != 0;
        let address = Ipv6Addr::from(fixed.client).to_canonical();
        Self {
            at_ms: fixed.at_ms,
            took_ns: fixed.took_ns,
            sent_bytes: fixed.sent_bytes,
            phases_ns: fixed.phases_ns,
            route_index: fixed.route_index,
            status: fixed.status,
            is_aborted: is_set(ABORTED),
            is_http_1_0: is_set(HTTP_1_0),
            client: is_set(TCP).then(|| SocketAddr::new(address, fixed.port)),
            texts: fixed.text_bytes.map(|bytes| {
                let (text, others) = rest.split_at(usize::from(bytes));
                rest = others;
                text
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written_and_long_texts_are_cut() {
        let long = vec![b'x'; 2 * TEXT_BYTES_MAX];
        let mut record = Record {
            at_ms: 1,
            took_ns: 2,
            sent_bytes: 3,
            phases_ns: [4, 5, 6, 7, 8],
            route_index: 9,
            status: 200,
            is_aborted: true,
            is_http_1_0: false,
            client: Some("192.0.2.1:80".parse().unwrap()),
            texts: [b""; TEXT_COUNT],
        };
        record.texts[Text::Path as usize] = b"/a";
        record.texts[Text::Referer as usize] = &long;
        for client in [
            record.client,
            Some("[2001:db8::1]:9".parse().unwrap()),
            None,
        ] {
            let record = Record { client, ..record };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            let (length, rest) = bytes.split_at(4);
            assert_eq!(
                u32::from_ne_bytes(length.try_into().unwrap()) as usize,
                rest.len()
            );
            let read = Record::read(rest);
            assert_eq!(read.text(Text::Referer).len(), TEXT_BYTES_MAX);
            assert_eq!(read.text(Text::Path), b"/a");
            assert_eq!(
                Record {
                    texts: record.texts,
                    ..read
                },
                record
            );
        }
    }
}
