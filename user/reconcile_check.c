// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether a model fits, counted before the first store, so that one that does
 * not changes nothing. Rows that are retired keep their places while flows refer
 * to them, and node ports take a row for each address of the node. Called by
 * reconcile.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "reconcile_state.h"

struct key_list {
	struct index_key *keys;
	size_t n;
};

static int refuse_table(const struct rows *rows, const char *table, size_t needed, char *error,
			size_t error_len)
{
	__u32 used = 0;

	for (__u32 i = 0; i < rows->n; i++)
		used += rows->row[i].used;
	if (needed <= rows->n - used)
		return 0;
	snprintf(error, error_len,
		 "the table of %s is full: %zu rows needed, %u of %u free; %u wait for their last "
		 "flows, a node port needs one for each address of the node; steer fewer Services",
		 table, needed, rows->n - used, rows->n, rows->retired);
	return -ENOSPC;
}

static int check_services(struct reconcile *r, const struct model *model, char *error,
			  size_t error_len)
{
	struct sl_service_name name;
	size_t needed = 0;
	int64_t row;

	for (__u32 i = 0; i < r->services.n; i++)
		r->services.row[i].wanted = NULL;
	for (size_t i = 0; i < model->n_services; i++) {
		row = reconcile_find_service(r, reconcile_name(&model->services[i], &name));
		if (row < 0)
			needed++;
		else
			r->services.row[row].wanted = &model->services[i];
	}
	return refuse_table(&r->services, "service-ports", needed, error, error_len);
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct index_key));
}

/* Its row, or NO_ROW. Those that have none yet are listed: few, most of the time. */
static __u32 find_or_list(const struct reconcile *r, struct key_list *list,
			    const struct index_key *key)
{
	__u32 row;

	if (!index_find(&r->index, key, &row))
		return row;
	list->keys[list->n++] = *key;
	return NO_ROW;
}

/* How many different keys there are. */
static size_t count_keys(struct key_list *list)
{
	size_t n = 0;

	qsort(list->keys, list->n, sizeof(*list->keys), compare_keys);
	for (size_t i = 0; i < list->n; i++)
		n += !i || compare_keys(&list->keys[i - 1], &list->keys[i]);
	return n;
}

static size_t vip_places(const struct model_vip *vip, size_t n_addresses)
{
	return vip->kind == MODEL_VIP_NODE_PORT ? n_addresses : 1;
}

static void add_vip(const struct reconcile *r, struct key_list *list, const struct model_vip *vip,
		    const union sl_addr *addresses, size_t n_addresses)
{
	struct index_key key = reconcile_key(&vip->addr, vip->port, vip->proto, SL_INDEX_VIP);

	if (vip->kind != MODEL_VIP_NODE_PORT) {
		find_or_list(r, list, &key);
		return;
	}
	for (size_t a = 0; a < n_addresses; a++) {
		key.addr = addresses[a];
		if (addr_is_v4(&addresses[a]) == addr_is_v4(&vip->addr))
			find_or_list(r, list, &key);
	}
}

static int check_vips(struct reconcile *r, const struct model *model,
		      const union sl_addr *addresses, size_t n_addresses, char *error,
		      size_t error_len)
{
	struct key_list list = {};
	size_t places = 1;
	int code;

	for (size_t i = 0; i < model->n_services; i++)
		for (size_t v = 0; v < model->services[i].n_vips; v++)
			places += vip_places(&model->services[i].vips[v], n_addresses);
	list.keys = calloc(places, sizeof(*list.keys));
	if (!list.keys)
		return -ENOMEM;
	for (size_t i = 0; i < model->n_services; i++)
		for (size_t v = 0; v < model->services[i].n_vips; v++)
			add_vip(r, &list, &model->services[i].vips[v], addresses, n_addresses);
	code = refuse_table(&r->vips, "VIPs", count_keys(&list), error, error_len);
	free(list.keys);
	return code;
}

/* Most models are the last one but for a few replicas: whose row is that of the `*at`th of it, or of the
 * next if that one left, is found without a search. */
static __u32 find_along(const struct reconcile *r, struct key_list *list,
			const struct model_replica *replica, size_t *at)
{
	struct index_key key;

	for (size_t i = *at; i < *at + 2 && i < r->n_hints; i++)
		if (reconcile_row_is(r, r->hints[i], replica)) {
			*at = i + 1;
			return r->hints[i];
		}
	key = reconcile_key(&replica->addr, replica->port, replica->proto, SL_INDEX_REPLICA);
	return find_or_list(r, list, &key);
}

static int check_replicas(struct reconcile *r, const struct model *model, size_t total,
			  char *error, size_t error_len)
{
	struct key_list list = {.keys = calloc(total + 1, sizeof(*list.keys))};
	__u32 *hints = calloc(total + 1, sizeof(*hints));
	size_t n = 0, at = 0;
	int code;

	if (!list.keys || !hints) {
		free(list.keys);
		free(hints);
		return -ENOMEM;
	}
	for (size_t i = 0; i < model->n_services; i++)
		for (size_t j = 0; j < model->services[i].n_replicas; j++)
			hints[n++] = find_along(r, &list, &model->services[i].replicas[j], &at);
	free(r->hints);
	r->hints = hints;
	r->n_hints = n;
	code = refuse_table(&r->replicas, "replicas", count_keys(&list), error, error_len);
	free(list.keys);
	return code;
}

/* A new list is published before the old one is given back: both must have room. */
static int check_members(const struct reconcile *r, size_t total, char *error, size_t error_len)
{
	size_t held = 0;

	for (__u32 i = 0; i < r->services.n; i++)
		if (r->services.row[i].used)
			held += SL_MEMBERS_LENGTH(r->tables->services[i].members);
	if (total + held <= SL_MAX_MEMBERS)
		return 0;
	snprintf(error, error_len,
		 "the table of members is full: %zu places needed, %zu of %u held until they are "
		 "replaced; steer fewer Services", total, held, SL_MAX_MEMBERS);
	return -ENOSPC;
}

int reconcile_check(struct reconcile *r, const struct model *model, const union sl_addr *addresses,
		    size_t n_addresses, char *error, size_t error_len)
{
	size_t total = 0;
	int code;

	for (size_t i = 0; i < model->n_services; i++)
		total += model->services[i].n_replicas;
	code = check_services(r, model, error, error_len);
	code = code ?: check_vips(r, model, addresses, n_addresses, error, error_len);
	code = code ?: check_replicas(r, model, total, error, error_len);
	code = code ?: check_members(r, total, error, error_len);
	if (code == -ENOMEM)
		snprintf(error, error_len, "out of memory");
	return code;
}
