"""BTF types as drgn types, made one by one when somebody asks.

A kernel has a hundred thousand types and a question needs a dozen, so members are handed to drgn as callables
that it calls when it looks inside. A drgn type belongs to one program; so does this factory.
"""

from __future__ import annotations

from collections.abc import Callable

from drgn import Object, Program, Qualifiers, Type, TypeEnumerator, TypeMember, TypeParameter

from ktstr_tui.kernel.btf import INT_BOOL, INT_SIGNED, Btf, BtfError, Kind, Member, TypeRecord

_MAX_NESTED = 64
"""Pointers, arrays, typedefs and qualifiers around one type; the members of a struct are made apart."""
_Maker = Callable[["TypeFactory", TypeRecord], Type]


class TypeFactory:
    """Makes drgn types of one program from BTF.

    Args:
        prog: The program that the types are for.
        btf: Where they come from.
    """

    def __init__(self, prog: Program, btf: Btf) -> None:
        self._prog = prog
        self._btf = btf
        self._made: dict[int, Type] = {}
        self._making: list[int] = []

    def type(self, type_id: int) -> Type:
        """The drgn type of a BTF id; raises ``BtfError`` for a kind that is no type, and for endless ones."""
        made = self._made.get(type_id)
        if made is None:
            record = self._btf.record(type_id)
            maker = _MAKERS.get(record.kind)
            if maker is None:
                raise BtfError(f"BTF type {type_id} ({record.kind.name}) is not a C type")
            if len(self._making) >= _MAX_NESTED:
                raise BtfError(f"BTF type {self._making[0]} is made of more than {_MAX_NESTED} others")
            self._making.append(type_id)
            try:
                made = self._made[type_id] = maker(self, record)
            finally:
                self._making.pop()
        return made

    def _void(self, _record: TypeRecord) -> Type:
        return self._prog.void_type()

    def _int(self, record: TypeRecord) -> Type:
        encoding, _, _ = self._btf.int_encoding(record.id)
        if encoding & INT_BOOL:
            return self._prog.bool_type(record.name, record.size_or_type)
        return self._prog.int_type(record.name, record.size_or_type, bool(encoding & INT_SIGNED))

    def _float(self, record: TypeRecord) -> Type:
        return self._prog.float_type(record.name, record.size_or_type)

    def _pointer(self, record: TypeRecord) -> Type:
        return self._prog.pointer_type(self.type(record.size_or_type))

    def _array(self, record: TypeRecord) -> Type:
        element, count = self._btf.array_of(record.id)
        return self._prog.array_type(self.type(element), count)

    def _compound(self, record: TypeRecord) -> Type:
        members = [self._member(member) for member in self._btf.members(record.id)]
        make = self._prog.struct_type if record.kind == Kind.STRUCT else self._prog.union_type
        return make(record.name or None, record.size_or_type, members)

    def _member(self, member: Member) -> TypeMember:
        def plain() -> Type:
            return self.type(member.type_id)

        def bit_field() -> Object:
            return Object(self._prog, self.type(member.type_id), bit_field_size=member.bit_size)

        return TypeMember(bit_field if member.bit_size else plain, member.name or None, member.bit_offset)

    def _enum(self, record: TypeRecord) -> Type:
        rows = [TypeEnumerator(name, value) for name, value in self._btf.enumerators(record.id)]
        name = {(4, True): "int", (8, True): "long", (8, False): "unsigned long"}
        word = name.get((record.size_or_type, record.flag), "unsigned int")
        compatible = self._prog.int_type(word, record.size_or_type, record.flag)
        return self._prog.enum_type(record.name or None, compatible, rows)

    def _forward(self, record: TypeRecord) -> Type:
        return (self._prog.union_type if record.flag else self._prog.struct_type)(record.name)

    def _typedef(self, record: TypeRecord) -> Type:
        return self._prog.typedef_type(record.name, self.type(record.size_or_type))

    def _volatile(self, record: TypeRecord) -> Type:
        inner = self.type(record.size_or_type)
        return inner.qualified(inner.qualifiers | Qualifiers.VOLATILE)

    def _const(self, record: TypeRecord) -> Type:
        inner = self.type(record.size_or_type)
        return inner.qualified(inner.qualifiers | Qualifiers.CONST)

    def _same(self, record: TypeRecord) -> Type:
        return self.type(record.size_or_type)

    def _function(self, record: TypeRecord) -> Type:
        pairs = self._btf.parameters(record.id)
        parameters = [
            TypeParameter(lambda inner=inner: self.type(inner), name or None)
            for name, inner in pairs
            if inner
        ]
        variadic = any(not inner for _, inner in pairs)
        return self._prog.function_type(self.type(record.size_or_type), parameters, is_variadic=variadic)


_MAKERS: dict[Kind, _Maker] = {
    Kind.VOID: TypeFactory._void,
    Kind.INT: TypeFactory._int,
    Kind.FLOAT: TypeFactory._float,
    Kind.PTR: TypeFactory._pointer,
    Kind.ARRAY: TypeFactory._array,
    Kind.STRUCT: TypeFactory._compound,
    Kind.UNION: TypeFactory._compound,
    Kind.ENUM: TypeFactory._enum,
    Kind.ENUM64: TypeFactory._enum,
    Kind.FWD: TypeFactory._forward,
    Kind.TYPEDEF: TypeFactory._typedef,
    Kind.VOLATILE: TypeFactory._volatile,
    Kind.CONST: TypeFactory._const,
    Kind.RESTRICT: TypeFactory._same,
    Kind.FUNC: TypeFactory._same,
    Kind.FUNC_PROTO: TypeFactory._function,
    Kind.TYPE_TAG: TypeFactory._same,
}
