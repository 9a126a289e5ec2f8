"""Parses the Protobuf schema language: text to FileDescriptorProto, without a compiler, files or processes.

Only what decoding needs is kept. Options that do not affect the wire format, extensions, services and default values are
skipped. Names of types stay as written: the descriptor pool of the `protobuf` library resolves and validates them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf import descriptor_pb2

from forebay.stream.decode.formats.protobuf_tokens import InvalidSchemaText, Token, line_of, tokenize

MAX_SCHEMA_BYTES: Final = 1 << 20
MAX_NESTING: Final = 32
"""How deeply message types may be nested. The Protobuf compiler has the same limit."""

_Field = descriptor_pb2.FieldDescriptorProto
_MAX_NUMBER: Final = 2**31 - 1
_LABELS: Final = {
    "optional": _Field.LABEL_OPTIONAL,
    "required": _Field.LABEL_REQUIRED,
    "repeated": _Field.LABEL_REPEATED,
}
_SCALARS: Final = {
    name: _Field.Type.Value(f"TYPE_{name.upper()}")
    for name in (
        *("double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64"),
        *("fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"),
    )
}
_CLOSING: Final = {"{": "}", "[": "]", "(": ")", "<": ">"}


def parse_schema(text: str, name: str) -> descriptor_pb2.FileDescriptorProto:
    """Return what the text of a schema declares, as the file `name`. Raises InvalidSchemaText."""
    if len(text.encode(errors="surrogatepass")) > MAX_SCHEMA_BYTES:
        raise InvalidSchemaText(f"more than {MAX_SCHEMA_BYTES} bytes")
    return _Parser(text, name).parse()


class _Parser:
    """A parser by recursive descent, with one token of lookahead."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._next = 0
        self._depth = 0
        self._file = descriptor_pb2.FileDescriptorProto(name=name, syntax="proto2")

    def parse(self) -> descriptor_pb2.FileDescriptorProto:
        self._parse_syntax()
        file = self._file
        while self._token.kind != "end":
            self._skip_visibility()
            if self._accept("message"):
                self._parse_message(file.message_type.add())
            elif self._accept("enum"):
                self._parse_enum(file.enum_type.add())
            elif self._accept("import"):
                self._parse_import()
            elif self._accept("package"):
                file.package = self._type_name()
                self._expect(";")
            elif self._accept("option"):
                self._parse_option(file.options)
                self._expect(";")
            elif self._accept("extend"):
                file.message_type.extend(self._parse_extension())
            elif self._accept("service"):
                self._skip_to_block()
            else:
                self._expect(";")
        if file.syntax == "proto2":
            file.ClearField("syntax")
        return file

    # Tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._token
        if token.kind == "end":
            raise self._error("more text is expected")
        self._next += 1
        return token

    def _accept(self, text: str) -> bool:
        token = self._token
        if token.text != text or token.kind not in ("symbol", "name"):
            return False
        self._next += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._error(f"{text!r} is expected, found {self._token.text[:40]!r}")

    def _error(self, message: str) -> InvalidSchemaText:
        return InvalidSchemaText(f"line {line_of(self._text, self._token.position)}: {message}")

    def _name(self) -> str:
        token = self._token
        if token.kind != "name":
            raise self._error(f"a name is expected, found {token.text[:40]!r}")
        self._next += 1
        return token.text

    def _type_name(self) -> str:
        """Take a name with dots; one at the front makes it absolute."""
        parts = ["."] if self._accept(".") else []
        parts.append(self._name())
        while self._accept("."):
            parts += [".", self._name()]
        return "".join(parts)

    def _string(self) -> str:
        first = self._next
        while self._tokens[self._next].kind == "string":
            self._next += 1
        if self._next == first:
            raise self._error(f"a string is expected, found {self._token.text[:40]!r}")
        return "".join(token.text for token in self._tokens[first : self._next])

    def _integer(self) -> int:
        negative = self._accept("-")
        token = self._token
        text = token.text.lower()
        base = 16 if text.startswith("0x") else 8 if len(text) > 1 and text.startswith("0") else 10
        try:
            number = int(text, base) if token.kind == "number" and len(text) <= 20 else _MAX_NUMBER + 2
        except ValueError:
            number = _MAX_NUMBER + 2
        if number > _MAX_NUMBER + negative:
            raise self._error(f"an integer of 32 bits is expected, found {token.text[:40]!r}")
        self._next += 1
        return -number if negative else number

    # Parts that are skipped

    def _skip_visibility(self) -> None:
        following = self._tokens[self._next + 1] if self._token.kind != "end" else self._token
        if self._token.text in ("export", "local") and following.text in ("message", "enum"):
            self._next += 1

    def _skip_to_block(self) -> None:
        while self._token.text != "{" or self._token.kind == "string":
            self._take()
        self._skip_block()

    def _skip_block(self) -> None:
        """Skip from an opening bracket to the one that closes it."""
        open_brackets: list[str] = []
        while True:
            token = self._take()
            if token.kind == "symbol" and token.text in _CLOSING:
                open_brackets.append(_CLOSING[token.text])
            elif token.kind == "symbol" and open_brackets and token.text == open_brackets[-1]:
                open_brackets.pop()
                if not open_brackets:
                    return

    def _skip_to_semicolon(self) -> None:
        while not self._accept(";"):
            self._take()

    # Declarations

    def _parse_syntax(self) -> None:
        file = self._file
        if self._accept("syntax"):
            self._expect("=")
            file.syntax = self._string()
            if file.syntax not in ("proto2", "proto3"):
                raise self._error(f"syntax {file.syntax[:40]!r} is not known; proto2 and proto3 are")
            self._expect(";")
        elif self._accept("edition"):
            self._expect("=")
            edition = f"EDITION_{self._string()}"
            if edition not in ("EDITION_2023", "EDITION_2024"):
                raise self._error(f"edition {edition[8:48]!r} is not known; 2023 and 2024 are")
            file.syntax, file.edition = "editions", descriptor_pb2.Edition.Value(edition)
            self._expect(";")

    def _parse_import(self) -> None:
        if self._accept("option"):  # edition 2024: only its options are used
            self._string()
        else:
            if self._accept("public"):
                self._file.public_dependency.append(len(self._file.dependency))
            else:
                self._accept("weak")
            self._file.dependency.append(self._string())
        self._expect(";")

    def _parse_option(self, options: object) -> None:
        """Parse `name = value`, and keep it if it affects the wire format."""
        name = ""
        while not self._accept("="):
            if self._token.text == "(":
                self._skip_block()
                name += "(extension)"
            else:
                name += self._take().text
        if self._token.text in ("{", "<") and self._token.kind == "symbol":
            self._skip_block()
            return
        if self._token.text in ("-", "+"):
            self._take()
        value = self._string() if self._token.kind == "string" else self._take().text
        if name.startswith("features.") and self._file.syntax == "editions":
            self._set_feature(options, name.removeprefix("features."), value)
        elif isinstance(options, descriptor_pb2.FieldOptions) and name == "packed":
            options.packed = value == "true"
        elif isinstance(options, descriptor_pb2.EnumOptions) and name == "allow_alias":
            options.allow_alias = value == "true"
        elif isinstance(options, descriptor_pb2.MessageOptions) and name in ("message_set_wire_format", "map_entry"):
            raise self._error(f"the option {name} is not supported")

    def _set_feature(self, options: object, name: str, value: str) -> None:
        field = descriptor_pb2.FeatureSet.DESCRIPTOR.fields_by_name.get(name)
        features = getattr(options, "features", None)
        if field is None or field.enum_type is None or features is None:
            return
        number = field.enum_type.values_by_name.get(value)
        if number is None:
            raise self._error(f"{value[:40]!r} is not a value of the feature {name}")
        setattr(features, name, number.number)

    def _parse_block(self, parse_statement: Callable[[], None]) -> None:
        self._expect("{")
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error(f"nested more than {MAX_NESTING} levels deep")
        while not self._accept("}"):
            if not self._accept(";"):
                parse_statement()
        self._depth -= 1

    def _parse_message(self, message: descriptor_pb2.DescriptorProto) -> None:
        message.name = self._name()
        self._parse_message_body(message)

    def _parse_message_body(self, message: descriptor_pb2.DescriptorProto) -> None:
        self._parse_block(lambda: self._parse_member(message))
        for field in message.field:
            if field.proto3_optional:  # such a field is the only member of a oneof that the compiler adds
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")

    def _parse_member(self, message: descriptor_pb2.DescriptorProto) -> None:
        self._skip_visibility()
        if self._accept("message"):
            self._parse_message(message.nested_type.add())
        elif self._accept("enum"):
            self._parse_enum(message.enum_type.add())
        elif self._accept("oneof"):
            self._parse_oneof(message)
        elif self._accept("option"):
            self._parse_option(message.options)
            self._expect(";")
        elif self._accept("extend"):
            message.nested_type.extend(self._parse_extension())
        elif self._token.text in ("extensions", "reserved"):
            self._skip_to_semicolon()
        else:
            self._parse_field(message)

    def _parse_extension(self) -> Sequence[descriptor_pb2.DescriptorProto]:
        """Parse the fields that extend another message, and return only the types of groups that they declare."""
        self._type_name()
        fields = descriptor_pb2.DescriptorProto()

        def parse_field() -> None:
            self._parse_field(fields)

        self._parse_block(parse_field)
        return list(fields.nested_type)

    def _parse_oneof(self, message: descriptor_pb2.DescriptorProto) -> None:
        index = len(message.oneof_decl)
        oneof = message.oneof_decl.add(name=self._name())

        def parse_choice() -> None:
            if self._accept("option"):
                self._parse_option(oneof.options)
                self._expect(";")
            elif self._token.text in _LABELS:
                raise self._error(f"a field of a oneof cannot be {self._token.text}")
            else:
                self._parse_field(message).oneof_index = index

        self._parse_block(parse_choice)

    def _parse_field(self, message: descriptor_pb2.DescriptorProto) -> descriptor_pb2.FieldDescriptorProto:
        field = message.field.add(label=_Field.LABEL_OPTIONAL)
        if self._token.text in _LABELS and self._token.kind == "name":
            label = self._take().text
            field.label = _LABELS[label]
            if label == "optional" and self._file.syntax == "proto3":
                field.proto3_optional = True
        if self._accept("group"):
            self._parse_group(message, field)
            return field
        if self._token.text == "map" and self._tokens[self._next + 1].text == "<":
            self._parse_map_type(message, field)
        else:
            self._parse_type(field)
            field.name = self._name()
        self._parse_number_and_options(field)
        self._expect(";")
        return field

    def _parse_type(self, field: descriptor_pb2.FieldDescriptorProto) -> None:
        name = self._type_name()
        if name in _SCALARS:
            field.type = _SCALARS[name]
        else:
            field.type_name = name  # the pool finds out whether it is a message or an enum

    def _parse_map_type(
        self, message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto
    ) -> None:
        self._take()
        self._expect("<")
        entry = message.nested_type.add()
        entry.options.map_entry = True
        self._parse_type(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL))
        self._expect(",")
        self._parse_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL))
        self._expect(">")
        field.name = self._name()
        entry.name = "".join(part[:1].upper() + part[1:] for part in field.name.split("_")) + "Entry"
        field.label, field.type, field.type_name = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE, entry.name

    def _parse_group(self, message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto) -> None:
        group = message.nested_type.add(name=self._name())
        field.name, field.type, field.type_name = group.name.lower(), _Field.TYPE_GROUP, group.name
        self._parse_number_and_options(field)
        self._parse_message_body(group)

    def _parse_number_and_options(self, field: descriptor_pb2.FieldDescriptorProto) -> None:
        self._expect("=")
        field.number = self._integer()
        if not self._accept("["):
            return
        while True:
            if self._token.text == "json_name" and self._tokens[self._next + 1].text == "=":
                self._next += 2
                field.json_name = self._string()
            else:
                self._parse_option(field.options)
            if not self._accept(","):
                break
        self._expect("]")
        if not field.options.ListFields():
            field.ClearField("options")

    def _parse_enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        enum.name = self._name()

        def parse_value() -> None:
            if self._accept("option"):
                self._parse_option(enum.options)
                self._expect(";")
            elif self._token.text == "reserved":
                self._skip_to_semicolon()
            else:
                value = enum.value.add(name=self._name())
                self._expect("=")
                value.number = self._integer()
                if self._token.text == "[":
                    self._skip_block()
                self._expect(";")

        self._parse_block(parse_value)
