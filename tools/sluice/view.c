// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the names, joined and sorted, so that each command is a loop over rows.
 * Never writes a map. A service-port with different traffic policies inside and
 * outside is two rows of the datapath and one of ours. Called by the commands
 * that show services, replicas, flows and events.
 */
#include "view.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "addr.h"

struct view_service {
	bool known;
	__u32 row; /* that stands for the service-port */
	struct sl_service_name name;
};

static int compare_names(const struct sl_service_name *a, const struct sl_service_name *b)
{
	int order = strcmp(a->service, b->service);

	if (!order)
		order = ntohs(a->port) - ntohs(b->port);
	if (!order)
		order = a->proto - b->proto;
	return order ? order : strcmp(a->port_name, b->port_name);
}

/* Inside variants before outside ones, so that the first of equals stands for all. */
static int compare_rows(const void *a, const void *b, void *services)
{
	const struct view_service *x = (struct view_service *)services + *(const __u32 *)a;
	const struct view_service *y = (struct view_service *)services + *(const __u32 *)b;
	int order = compare_names(&x->name, &y->name);

	return order ? order : x->name.external - y->name.external;
}

void view_refresh(struct view *view)
{
	struct view_service *services = view->services;
	__u32 *order = view->order, first;
	size_t n = 0, n_distinct = 0;

	for (__u32 row = 0; row < view->maps.n_services; row++) {
		services[row].known = (view->maps.services[row].flags & SL_SERVICE_USED) &&
				      maps_service_name(&view->maps, row, &services[row].name);
		services[row].row = row;
		if (services[row].known)
			order[n++] = row;
	}
	qsort_r(order, n, sizeof(*order), compare_rows, services);
	for (size_t i = 0; i < n; i++) {
		first = n_distinct ? order[n_distinct - 1] : 0;
		if (n_distinct && !compare_names(&services[first].name, &services[order[i]].name))
			services[order[i]].row = first;
		else
			order[n_distinct++] = order[i];
	}
	view->n_order = n_distinct;
}

int view_open(const struct cli *cli, struct view *ret)
{
	struct view view = {0};
	int status = cli_open_maps(cli, &view.maps);

	if (status)
		return status;
	view.services = calloc(view.maps.n_services, sizeof(*view.services));
	view.order = calloc(view.maps.n_services, sizeof(*view.order));
	if (!view.services || !view.order) {
		view_close(&view);
		return cli_error("out of memory");
	}
	view_refresh(&view);
	*ret = view;
	return CLI_OK;
}

void view_close(struct view *view)
{
	free(view->services);
	free(view->order);
	maps_close(&view->maps);
}

__u32 view_service_row(const struct view *view, __u32 row)
{
	return row < view->maps.n_services ? view->services[row].row : row;
}

const struct sl_service_name *view_service_name(const struct view *view, __u32 row)
{
	if (row >= view->maps.n_services || !view->services[row].known)
		return NULL;
	return &view->services[row].name;
}

bool view_service_matches(const struct view *view, __u32 row, const char *name)
{
	const struct sl_service_name *known = view_service_name(view, row);
	const char *slash;

	if (!name)
		return true;
	if (!known)
		return false;
	slash = strchr(known->service, '/');
	return !strcmp(known->service, name) || (slash && !strcmp(slash + 1, name));
}

int view_expect_service(const struct view *view, const char *name)
{
	for (size_t i = 0; i < view->n_order; i++)
		if (view_service_matches(view, view->order[i], name))
			return CLI_OK;
	if (!name)
		return CLI_OK;
	return cli_error("Sluice steers no service \"%s\" on this node; see: sluice service show",
			 name);
}

/* ---- pairs -------------------------------------------------------------------------*/

static int compare_services(const struct view *view, __u32 a, __u32 b)
{
	const struct sl_service_name *x = view_service_name(view, a);
	const struct sl_service_name *y = view_service_name(view, b);
	int order = x && y ? compare_names(x, y) : !x - !y;

	return order ? order : (a > b) - (a < b);
}

static int compare_endpoints(const union sl_addr *a, __be16 port_a, const union sl_addr *b,
			     __be16 port_b)
{
	int order = memcmp(a, b, sizeof(*a));

	return order ? order : ntohs(port_a) - ntohs(port_b);
}

static int compare_replicas(const void *a, const void *b, void *context)
{
	const struct view_pair *x = a, *y = b;
	const struct view *view = context;
	const struct sl_replica_config *p = &view->maps.replicas[x->row].config;
	const struct sl_replica_config *q = &view->maps.replicas[y->row].config;
	int order = compare_services(view, x->service, y->service);

	if (!order)
		order = compare_endpoints(&p->addr, p->port, &q->addr, q->port);
	return order ? order : (x->row > y->row) - (x->row < y->row);
}

static int compare_vips(const void *a, const void *b, void *context)
{
	const struct view_pair *x = a, *y = b;
	const struct view *view = context;
	const struct sl_vip *p = &view->maps.vips[x->row], *q = &view->maps.vips[y->row];
	int order = compare_services(view, x->service, y->service);

	if (!order)
		order = compare_endpoints(&p->addr, p->port, &q->addr, q->port);
	return order ? order : (x->row > y->row) - (x->row < y->row);
}

static int add_pair(struct view_pairs *pairs, size_t *capacity, __u32 service, __u32 row)
{
	struct view_pair *list;

	if (pairs->n == *capacity) {
		*capacity = *capacity ? *capacity * 2 : 64;
		list = reallocarray(pairs->list, *capacity, sizeof(*list));
		if (!list) {
			free(pairs->list);
			return cli_error("out of memory");
		}
		pairs->list = list;
	}
	pairs->list[pairs->n++] = (struct view_pair){service, row};
	return CLI_OK;
}

/* Each pair once: both variants of a service-port may hold the same replica. */
static void sort_pairs(struct view_pairs *pairs, int (*compare)(const void *, const void *, void *),
		       const struct view *view)
{
	size_t n = 0;

	if (pairs->n)
		qsort_r(pairs->list, pairs->n, sizeof(*pairs->list), compare, (void *)view);
	for (size_t i = 0; i < pairs->n; i++)
		if (!n || memcmp(&pairs->list[n - 1], &pairs->list[i], sizeof(*pairs->list)))
			pairs->list[n++] = pairs->list[i];
	pairs->n = n;
}

int view_replicas(const struct view *view, struct view_pairs *ret)
{
	struct view_pairs pairs = {0};
	size_t capacity = 0;
	int status = CLI_OK;

	for (__u32 row = 0; row < view->maps.n_replicas && !status; row++) {
		const struct sl_replica_services *of = &view->maps.replica_services[row];
		__u32 n = of->n < SL_MAX_SHARED ? of->n : SL_MAX_SHARED;

		if (!(view->maps.replicas[row].config.flags & SL_REPLICA_USED))
			continue;
		for (__u32 i = 0; i < n && !status; i++)
			status = add_pair(&pairs, &capacity, view_service_row(view, of->service[i]),
					  row);
	}
	if (status)
		return status;
	sort_pairs(&pairs, compare_replicas, view);
	*ret = pairs;
	return CLI_OK;
}

int view_vips(const struct view *view, struct view_pairs *ret)
{
	struct view_pairs pairs = {0};
	size_t capacity = 0;
	int status = CLI_OK;

	for (__u32 row = 0; row < view->maps.n_vips && !status; row++) {
		const struct sl_vip *vip = &view->maps.vips[row];

		if ((vip->flags & SL_VIP_USED) && !(vip->flags & SL_VIP_NO_NEW))
			status = add_pair(&pairs, &capacity, view_service_row(view, vip->service),
					  row);
	}
	if (status)
		return status;
	sort_pairs(&pairs, compare_vips, view);
	*ret = pairs;
	return CLI_OK;
}

const struct view_pair *view_pairs_of(const struct view *view, const struct view_pairs *pairs,
				      __u32 service, size_t *ret_n)
{
	size_t low = 0, high = pairs->n, middle, n = 0;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (compare_services(view, pairs->list[middle].service, service) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	while (low + n < pairs->n && pairs->list[low + n].service == service)
		n++;
	*ret_n = n;
	return pairs->list + low;
}

/* ---- cells ---------------------------------------------------------------------------*/

uint64_t view_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t view_age_ms(const struct view *view, __u32 jiffies)
{
	__s32 age = __atomic_load_n(&view->maps.kernel->now, __ATOMIC_RELAXED) - jiffies;
	__u32 hz = view->maps.control->hz;

	return age > 0 && hz ? (uint64_t)age * 1000 / hz : 0;
}

void view_put_service(const struct view *view, struct out *out, __u32 row)
{
	const struct sl_service_name *name = view_service_name(view, row);

	out_string(out, name ? name->service : NULL);
	if (!name)
		out_null(out);
	else if (*name->port_name)
		out_string(out, name->port_name);
	else
		out_uint(out, ntohs(name->port));
}

void view_put_no_service(struct out *out)
{
	out_null(out);
	out_null(out);
}

void view_put_endpoint(struct out *out, const union sl_addr *addr, __be16 port)
{
	char text[ADDR_PORT_STR_LEN];

	out_string(out, addr_format_port(addr, port, text));
	out_string(out, addr_format(addr, text));
	out_uint(out, ntohs(port));
}

void view_put_no_endpoint(struct out *out)
{
	out_null(out);
	out_null(out);
	out_null(out);
}

void view_put_load(const struct view *view, struct out *out, const struct view_pair *pair,
		   uint64_t now_ns)
{
	const struct sl_replica_config *config = &view->maps.replicas[pair->row].config;
	int64_t ttl_ns = 0;

	if (pair->service < view->maps.n_services)
		ttl_ns = view->maps.services[pair->service].load_ttl_ms * 1000000ll;
	if ((config->flags & SL_REPLICA_HAS_LOAD) && (int64_t)(now_ns - config->report_ns) <= ttl_ns)
		out_real(out, config->load / 256.0);
	else
		out_null(out);
}

const char *view_protocol(__u8 proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "?";
}

const char *view_state(enum sl_replica_state state)
{
	static const char *const names[] = {SL_REPLICA_STATES(SL_NAME_ROW)};

	return names[state];
}
