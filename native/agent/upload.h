/* SPDX-License-Identifier: MIT */
/*
 * An object that the host sends in pieces, written to memory below UPLOAD_DIR.
 *
 * Pieces follow each other without gaps. The first thing that is wrong (a size out of range, a piece that is missing,
 * damaged or not where the next one belongs, a full file system) ends the upload; what comes after it is ignored, and
 * upload_finish() says what it was. There is one upload at a time: another one begins in the place of the one before.
 */
#ifndef KTSTR_AGENT_UPLOAD_H
#define KTSTR_AGENT_UPLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "plan.h"

#ifndef UPLOAD_DIR
#define UPLOAD_DIR "/run/ktstr-uploads"
#endif
#define UPLOAD_MAX_BYTES (16u << 20)
#define UPLOAD_CHUNK_BYTES 32768u // of the object in a SchedChunk
#define UPLOAD_PATH_BYTES 512

void upload_begin(const uint8_t *payload, size_t bytes); // of a SchedUpload
void upload_chunk(const uint8_t *payload, size_t bytes); // of a SchedChunk
void upload_damaged(void); // a frame came damaged, which may have been a piece
// End the upload of this number. Returns NULL, the path of the whole object and its name; or what went wrong.
const char *upload_finish(uint32_t id, char path[UPLOAD_PATH_BYTES], char name[PLAN_NAME_BYTES]);
void upload_remove(const char *path); // an object that is not needed any more; of other files nothing happens

#endif
