// SPDX-License-Identifier: MIT
#include "pager.h"

void prewarm(struct pager *pager)
{
	for (size_t i = 0; i < pager->nr_prewarm; i++) {
		if (pager->prewarm[i] < pager->shared->pages)
			load_ahead(pager, pager->prewarm[i], 1, &pager->shared->prewarmed);
	}
}

bool load_now(struct pager *pager, uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++) {
		if (was_served(pager, page) || source_is_zeros(&pager->source, page))
			continue;
		pager->source.why = "no region has it";
		load_ahead(pager, page, 1, &pager->shared->prefetched);
		if (!was_served(pager, page))
			return false;
	}
	return true;
}

bool has_work(const struct pager *pager)
{
	if (!pager->nr_regions || pager->link_down)
		return false;
	return pager->prefetched < pager->nr_prefetch ||
	       (pager->fill && pager->filled < pager->shared->pages);
}

static bool is_bad(const struct pager *pager, uint64_t page)
{
	return pager->known_bad[page / 8] >> page % 8 & 1;
}

void work(struct pager *pager)
{
	if (pager->prefetched < pager->nr_prefetch) {
		uint64_t page = pager->prefetch[pager->prefetched];

		if (page >= pager->shared->pages || load_ahead(pager, page, 1, &pager->shared->prefetched))
			pager->prefetched++;
		return;
	}
	while (pager->filled < pager->shared->pages &&
	       (was_served(pager, pager->filled) || is_bad(pager, pager->filled) ||
		source_is_zeros(&pager->source, pager->filled)))
		pager->filled++;
	if (pager->filled < pager->shared->pages) {
		uint64_t page = pager->filled;

		if (load_ahead(pager, page, BATCH_PAGES, &pager->shared->prefetched) &&
		    !was_served(pager, page))
			pager->filled++; // it cannot be had, or no region has it
	}
}

void check_resident(struct pager *pager)
{
	if (pager->shared->left || pager->shared->resident_ns || !pager->nr_regions)
		return;
	pager->shared->resident_ns = now_ns();
	tell(pager, KTP_RESIDENT, 0, NULL);
}
