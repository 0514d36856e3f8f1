"""LZO1X, unpacked. Spec: Linux Documentation/staging/lzo.rst, stream version 0."""

from __future__ import annotations


def decompress_lzo(data: bytes, limit: int) -> bytes:
    """The bytes that `data` is packed of, at most `limit`. ValueError when it is no such stream.

    IndexError when it ends too early.
    """
    out = bytearray()
    at = 0
    state = 0  # literals copied by the last instruction: 0 to 3, or 4 for a run of them

    def long_length(bits: int, at: int) -> tuple[int, int]:
        """A length whose bits in the instruction are 0: each zero byte that follows is 255 more."""
        length = bits
        while data[at] == 0:
            length += 255
            at += 1
            if length > limit:
                raise ValueError("a length in the LZO stream is too large")
        return length + data[at], at + 1

    if data[0] > 17:
        length = data[0] - 17
        out += data[1 : 1 + length]
        at, state = 1 + length, min(length, 4)
    while True:
        code = data[at]
        at += 1
        if code < 16 and state == 0:
            length = code + 3
            if code == 0:
                length, at = long_length(18, at)
            if at + length > len(data):
                raise IndexError("the LZO stream ends in a run of bytes")
            out += data[at : at + length]
            at, state = at + length, 4
        else:
            if code < 16:
                length, distance = (2, 1) if state < 4 else (3, 2049)
                distance += (data[at] << 2) + (code >> 2)
                at, state = at + 1, code & 3
            elif code >= 64:
                length = (code >> 5) + 1
                distance = (data[at] << 3) + ((code >> 2) & 7) + 1
                at, state = at + 1, code & 3
            else:
                mask = 31 if code >= 32 else 7
                length = (code & mask) + 2
                if not code & mask:
                    length, at = long_length(mask + 2, at)
                low = data[at] | data[at + 1] << 8
                at, state = at + 2, low & 3
                distance = (low >> 2) + 1
                if code < 32:
                    distance += 0x3FFF + ((code & 8) << 11)
                    if distance == 0x4000:
                        return bytes(out)
            if distance > len(out):
                raise ValueError("the LZO stream refers to bytes before its begin")
            start = len(out) - distance
            while length > 0:  # source and target may overlap
                piece = out[start : start + min(length, distance)]
                out += piece
                start += len(piece)
                length -= len(piece)
            out += data[at : at + state]
            at += state
        if len(out) > limit:
            raise ValueError(f"the LZO stream unpacks to more than {limit} bytes")
