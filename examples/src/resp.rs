//! RESP, the protocol of Redis, as far as a proxy needs it: where one value ends. A value stays
//! the bytes that it came as.

use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::mem;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest value that is read, in bytes.
const LARGEST: usize = 16 << 20;

/// A request as Redis takes it: an array of strings, each with its length.
pub fn request(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(text, "${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

/// Sends one request, as [`request`] makes it or as it came, and reads its reply. A reply that says
/// no (`-ERR ..`) is a reply.
///
/// # Errors
///
/// If the connection breaks, or if something else comes behind the reply: the connection is then
/// out of step and of no further use.
pub async fn exchange<S>(stream: &mut S, request: &[u8]) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    let mut buffer = Vec::new();
    match read_value(stream, &mut buffer).await? {
        Some(reply) if buffer.is_empty() => Ok(reply),
        Some(_) => Err(invalid("more came than the reply")),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads one value, whole: a reply or a request. What was read beyond it stays in `buffer`, for the
/// next call. `None`: the stream ended, and no value had begun.
///
/// # Errors
///
/// If the stream fails or ends within the value, or if that is no RESP or larger than 16 MiB.
pub async fn read_value<S>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>>
where
    S: AsyncRead + Unpin,
{
    let mut chunk = [0; 4096];
    loop {
        if let Some(length) = value_length(buffer)? {
            let rest = buffer.split_off(length);
            return Ok(Some(mem::replace(buffer, rest)));
        }
        if buffer.len() > LARGEST {
            return Err(invalid("a value of more than 16 MiB"));
        }
        match stream.read(&mut chunk).await? {
            0 if buffer.is_empty() => return Ok(None),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

/// A reply for people: a string, an error or a number as text, anything else as it is.
pub fn text(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    let body = match reply.first() {
        Some(b'+' | b'-' | b':') => &text[1..],
        Some(b'$') => text.split_once("\r\n").map_or("", |(_, body)| body),
        _ => &text,
    };
    body.strip_suffix("\r\n").unwrap_or(body).to_owned()
}

/// The command of a request: the first of its strings.
pub fn command(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    text.split("\r\n").nth(2).unwrap_or_default().to_uppercase()
}

/// How many bytes the value at the beginning of `bytes` has; `None`: not all of them are there.
fn value_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    // An array is as many values more. Counting them instead of descending costs no stack.
    let mut values_left: usize = 1;
    while values_left > 0 {
        let Some(line) = line_at(bytes, at) else {
            return Ok(None);
        };
        values_left -= 1;
        at += line.len() + 2;
        match line.split_first() {
            Some((b'+' | b'-' | b':', _)) => {}
            // Without a length (-1) there is no string, and no end of it.
            Some((b'$', digits)) => at += number(digits)?.map_or(0, |length| length + 2),
            Some((b'*', digits)) => values_left += number(digits)?.unwrap_or(0),
            _ => return Err(invalid("no RESP")),
        }
    }
    Ok((at <= bytes.len()).then_some(at))
}

/// The line that begins there, without its end.
fn line_at(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let bytes = bytes.get(start..)?;
    let length = bytes.windows(2).position(|end| end == b"\r\n")?;
    Some(&bytes[..length])
}

/// A length or a count; `None` for -1.
fn number(digits: &[u8]) -> io::Result<Option<usize>> {
    match std::str::from_utf8(digits).map(str::parse::<i64>) {
        Ok(Ok(-1)) => Ok(None),
        Ok(Ok(number @ 0..)) if number as usize <= LARGEST => Ok(Some(number as usize)),
        _ => Err(invalid(
            "no length of a RESP value, or one of more than 16 MiB",
        )),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    const VALUES: [&[u8]; 9] = [
        b"+PONG\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$5\r\nhello\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*3\r\n*2\r\n:1\r\n$1\r\nx\r\n$-1\r\n+OK\r\n",
    ];

    #[test]
    fn a_value_ends_where_it_ends_and_not_before() {
        for value in VALUES {
            for part in 0..value.len() {
                let length = value_length(&value[..part]).unwrap();
                assert_eq!(length, None, "{part} bytes of {:?}", text(value));
            }
            let followed = [value, b"+OK\r\n"].concat();
            assert_eq!(value_length(&followed).unwrap(), Some(value.len()));
        }
    }

    #[test]
    fn values_that_come_together_are_read_one_by_one() {
        let mut stream = &*VALUES.concat();
        let mut buffer = Vec::new();
        for value in VALUES {
            let read = block_on(read_value(&mut stream, &mut buffer)).unwrap();
            assert_eq!(read.as_deref(), Some(value));
        }
        let end = block_on(read_value(&mut stream, &mut buffer)).unwrap();
        assert_eq!(end, None);
    }

    #[test]
    fn a_stream_that_ends_within_a_value_is_an_error() {
        let mut stream = &b"$5\r\nhel"[..];
        let error = block_on(read_value(&mut stream, &mut Vec::new())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_resp_is_an_error() {
        for bytes in [
            "PING\r\n",
            "\r\n",
            "$x\r\n",
            "$-2\r\n",
            "*99999999999999999999\r\n",
            "$9223372036854775807\r\n",
        ] {
            let error = value_length(bytes.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[test]
    fn a_request_is_a_value_and_begins_with_its_command() {
        let request = request(&["set", "key", "two words"]);
        assert_eq!(
            request,
            b"*3\r\n$3\r\nset\r\n$3\r\nkey\r\n$9\r\ntwo words\r\n"
        );
        assert_eq!(value_length(&request).unwrap(), Some(request.len()));
        assert_eq!(command(&request), "SET");
    }

    #[test]
    fn a_reply_reads_as_text() {
        let texts = VALUES.map(text);
        assert_eq!(texts[..4], ["PONG", "ERR no", "-12", "hello"]);
    }
}
