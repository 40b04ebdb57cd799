// SPDX-License-Identifier: MIT
#include "notes.h"

bool notes_take(struct notes *notes, const struct observer_page *page)
{
	uint32_t nr = page->nr_noted_ranges;
	bool probes = probes_take(&notes->probes, page->noted_probes, page->nr_noted_probes, OBSERVER_NOTED);
	bool ranges = ranges_take(&notes->ranges, page->noted_ranges, nr > OBSERVER_NOTED ? UINT32_MAX : nr);

	notes->vcpu = page->note_vcpu;
	return probes && ranges;
}

void notes_store(const struct notes *notes, struct observer_page *page, struct observer_note note,
		 uint64_t total)
{
	note.began = notes->began;
	note.ended = total;
	page->notes[page->nr_notes++ % OBSERVER_NOTES] = note;
}

void notes_block(struct notes *notes, struct observer_page *page, const struct blocks *blocks,
		 struct block block, uint32_t vcpu, uint64_t total)
{
	struct observer_note note = { .next_ip = block.address, .vcpu = vcpu };
	uint64_t probe = block.address - 1;

	notes->began = total - block.insns;
	if (notes->vcpu == vcpu + 1)
		page->begun[page->nr_begun++ % OBSERVER_NOTES] = notes->began;
	if (!notes->probes.nr)
		return;
	while ((probe = probes_in(&notes->probes, blocks, block, probe + 1))) {
		note.address = probe;
		notes_store(notes, page, note, total);
	}
}
