// SPDX-License-Identifier: MIT
//
// The list of message types, the CRC and the encoder. The assembler is in ktstr_assembler.c.
#include "ktstr_frames.h"

#include <string.h>

#include "ktstr_bytes.h"
#include "ktstr_crc.h"

const struct ktf_msg_type ktf_msg_types[] = {
#define KTF_ROW(c_name, name, value, direction) { #name, value, direction },
	KTF_MSG_TYPES(KTF_ROW)
#undef KTF_ROW
};
const size_t ktf_msg_type_count = sizeof(ktf_msg_types) / sizeof(ktf_msg_types[0]);

bool ktf_is_known(uint32_t msg_type)
{
	switch (msg_type) {
#define KTF_CASE(c_name, name, value, direction) case value:
		KTF_MSG_TYPES(KTF_CASE)
#undef KTF_CASE
		return true;
	default:
		return false;
	}
}

uint32_t ktf_crc32(uint32_t crc, const void *data, size_t length)
{
	return ~crc_update(~crc, data, length);
}

uint32_t ktf_crc32_tables(uint32_t crc, const void *data, size_t length)
{
	return ~crc_by_tables(~crc, data, length);
}

void ktf_encode_header(uint8_t header[KTF_HEADER_SIZE], uint32_t msg_type, const void *payload,
		       uint32_t length)
{
	put32(header, msg_type);
	put32(header + 4, length);
	put32(header + 8, length ? ktf_crc32(0, payload, length) : 0);
	put32(header + 12, 0);
}

size_t ktf_encode(uint8_t *out, size_t size, uint32_t msg_type, const void *payload, uint32_t length)
{
	if (size < KTF_HEADER_SIZE || size - KTF_HEADER_SIZE < length)
		return 0;
	ktf_encode_header(out, msg_type, payload, length);
	if (length)
		memcpy(out + KTF_HEADER_SIZE, payload, length);
	return KTF_HEADER_SIZE + (size_t)length;
}
