// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the list of interfaces that carry our programs. A role, once given, stays
 * until the interface goes or is renamed out of it; uplink beats fabric. Never
 * takes the loopback; of our own device pair one end has a role of its own, the
 * other none. Interfaces whose frames do not fit the role that they should have
 * are listed with none, so that they are told of once. Called by the agent.
 */
#include "interfaces.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

struct attached {
	int ifindex;
	char name[IF_NAMESIZE];
	enum attach_role role;
};

struct interfaces {
	struct datapath *datapath;
	struct events *events;
	struct interfaces_options options;
	struct attached *list;
	unsigned n, capacity;
};

/* Whether `name` matches one of the comma-separated globs. */
static bool matches(const char *globs, const char *name)
{
	char glob[64];

	for (const char *at = globs; at && *at;) {
		size_t len = strcspn(at, ",");

		snprintf(glob, sizeof(glob), "%.*s", (int)len, at);
		if (!fnmatch(glob, name, 0))
			return true;
		at += len + (at[len] == ',');
	}
	return false;
}

static struct attached *find(const struct interfaces *interfaces, int ifindex)
{
	for (unsigned i = 0; i < interfaces->n; i++)
		if (interfaces->list[i].ifindex == ifindex)
			return &interfaces->list[i];
	return NULL;
}

/* Whether the programs of a role can read what the interface receives. */
static bool fits(const struct route_link *link, enum attach_role role)
{
	return role == ATTACH_FABRIC_L3 ? route_link_is_bare(link) : route_link_has_ethernet(link);
}

static void say(struct interfaces *interfaces, enum sl_event_kind kind, const struct attached *at)
{
	struct sl_event event = {.kind = kind};

	events_add(interfaces->events, &event, "%s as %s", at->name, attach_role_names[at->role]);
}

/* Whether replies can be redirected to a client that comes in there. */
static bool takes_redirects(const struct route_link *link, enum attach_role role)
{
	return role == ATTACH_UPLINK || (role == ATTACH_POD && route_link_has_peer(link));
}

/* Renews what new flows are told of the interface; one that is not known takes the node's stack. */
static void note_redirects(struct interfaces *interfaces, const struct route_link *link,
			   enum attach_role role)
{
	int home = link->master ? link->master : link->ifindex;
	int error = datapath_set_fast_device(interfaces->datapath, link->ifindex,
					     takes_redirects(link, role) ? home : 0);

	if (error)
		log_error("cannot note whether %s takes redirects, so flows from there do not take "
			  "the fast path: %s", link->name, strerror(-error));
}

/* XDP only accelerates: without it, TC goes on. */
static void accelerate(struct interfaces *interfaces, const struct route_link *link)
{
	__u8 mode = datapath_tables(interfaces->datapath)->control->xdp;
	struct sl_event event = {.kind = SL_EVENT_ATTACH};
	char why[XDP_WHY_LEN];

	if (!datapath_attach_xdp(interfaces->datapath, link->ifindex, link->name, link->kind, why)) {
		events_add(interfaces->events, &event, "%s: XDP, native", link->name);
		return;
	}
	if (mode == SL_XDP_OFF)
		return;
	event.kind = SL_EVENT_NO_XDP;
	event.value = mode == SL_XDP_ON;
	events_add(interfaces->events, &event, "%s: %s", link->name, why);
}

static void forget(struct interfaces *interfaces, struct attached *at)
{
	if (at->role != ATTACH_NONE) {
		datapath_set_fast_device(interfaces->datapath, at->ifindex, 0);
		datapath_detach(interfaces->datapath, at->ifindex, at->name);
		say(interfaces, SL_EVENT_DETACH, at);
	}
	*at = interfaces->list[--interfaces->n];
}

static int enlist(struct interfaces *interfaces, const struct route_link *link,
		  enum attach_role role, struct attached **ret)
{
	struct attached *at;

	if (interfaces->n == interfaces->capacity) {
		unsigned capacity = interfaces->capacity ? interfaces->capacity * 2 : 32;

		at = realloc(interfaces->list, capacity * sizeof(*at));
		if (!at)
			return -ENOMEM;
		interfaces->list = at;
		interfaces->capacity = capacity;
	}
	at = &interfaces->list[interfaces->n++];
	*at = (struct attached){.ifindex = link->ifindex, .role = role};
	snprintf(at->name, sizeof(at->name), "%s", link->name);
	*ret = at;
	return 0;
}

/* What goes with a role that was just taken. */
static void begin_role(struct interfaces *interfaces, const struct route_link *link,
		       const struct attached *at)
{
	note_redirects(interfaces, link, at->role);
	say(interfaces, SL_EVENT_ATTACH, at);
	if (at->role == ATTACH_UPLINK)
		accelerate(interfaces, link);
}

static int give_role(struct interfaces *interfaces, const struct route_link *link,
		     enum attach_role role)
{
	struct attached *at;
	int error;

	if (!fits(link, role))
		return enlist(interfaces, link, ATTACH_NONE, &at) ?: -EMEDIUMTYPE;
	error = datapath_attach(interfaces->datapath, link->ifindex, link->name, role);
	if (error)
		return error == -ENODEV ? 0 : error; /* gone again already */
	error = enlist(interfaces, link, role, &at);
	if (!error)
		begin_role(interfaces, link, at);
	return error;
}

int interfaces_new(struct datapath *datapath, struct events *events,
		   const struct interfaces_options *options, struct interfaces **ret)
{
	struct interfaces *interfaces = calloc(1, sizeof(*interfaces));

	if (!interfaces)
		return -ENOMEM;
	interfaces->datapath = datapath;
	interfaces->events = events;
	interfaces->options = *options;
	*ret = interfaces;
	return 0;
}

void interfaces_free(struct interfaces *interfaces)
{
	if (!interfaces)
		return;
	free(interfaces->list);
	free(interfaces);
}

int interfaces_link_new(struct interfaces *interfaces, const struct route_link *link)
{
	struct attached *at = find(interfaces, link->ifindex);
	enum attach_role role = ATTACH_NONE;

	if (at && !strcmp(at->name, link->name)) {
		note_redirects(interfaces, link, at->role);
		return 0;
	}
	if (at)
		forget(interfaces, at);
	if (!strcmp(link->name, SL_NODE_DEVICE))
		role = ATTACH_NODE;
	else if (!strcmp(link->name, SL_NODE_PEER))
		role = ATTACH_NONE;
	else if (matches(interfaces->options.uplinks, link->name))
		role = ATTACH_UPLINK;
	else if (matches(interfaces->options.pod_globs, link->name))
		role = ATTACH_POD;
	return role == ATTACH_NONE ? 0 : give_role(interfaces, link, role);
}

void interfaces_link_gone(struct interfaces *interfaces, const struct route_link *link)
{
	struct attached *at = find(interfaces, link->ifindex);

	if (at)
		forget(interfaces, at);
}

/* Another role for one that is listed, with no moment in between without a program. */
static int change_role(struct interfaces *interfaces, const struct route_link *link,
		       struct attached *at, enum attach_role role)
{
	int error = datapath_attach(interfaces->datapath, link->ifindex, link->name, role);

	if (error)
		return error == -ENODEV ? 0 : error;
	at->role = role;
	begin_role(interfaces, link, at);
	return 0;
}

/* A role that follows routes: never takes the place of one that has a name. */
static int routed_role(struct interfaces *interfaces, const struct route_link *link,
		       enum attach_role role)
{
	struct attached *at = find(interfaces, link->ifindex);

	if (!strcmp(link->name, "lo") || !strcmp(link->name, SL_NODE_PEER))
		return 0;
	if (!at)
		return give_role(interfaces, link, role);
	if (at->role == role || !fits(link, role) ||
	    (at->role != ATTACH_FABRIC && at->role != ATTACH_FABRIC_L3 && at->role != ATTACH_NONE))
		return 0;
	return change_role(interfaces, link, at, role);
}

int interfaces_default_uplink(struct interfaces *interfaces, const struct route_link *link)
{
	return interfaces->options.uplinks ? 0 : routed_role(interfaces, link, ATTACH_UPLINK);
}

int interfaces_fabric(struct interfaces *interfaces, const struct route_link *link)
{
	return routed_role(interfaces, link,
			   route_link_is_bare(link) ? ATTACH_FABRIC_L3 : ATTACH_FABRIC);
}

/* Also one that is left alone: that has been told. */
static bool has_uplink(const struct interfaces *interfaces, const char *glob)
{
	for (unsigned i = 0; i < interfaces->n; i++)
		if ((interfaces->list[i].role == ATTACH_UPLINK ||
		     interfaces->list[i].role == ATTACH_NONE) &&
		    !fnmatch(glob, interfaces->list[i].name, 0))
			return true;
	return false;
}

bool interfaces_missing_uplink(const struct interfaces *interfaces, const char **at, char *ret,
			       size_t len)
{
	const char *next = *at ? *at : interfaces->options.uplinks;
	char name[64];

	while (next && *next) {
		size_t n = strcspn(next, ",");

		snprintf(name, sizeof(name), "%.*s", (int)n, next);
		next += n + (next[n] == ',');
		if (has_uplink(interfaces, name))
			continue;
		snprintf(ret, len, "%s", name);
		*at = next;
		return true;
	}
	return false;
}

enum attach_role interfaces_role(const struct interfaces *interfaces, int ifindex)
{
	const struct attached *at = find(interfaces, ifindex);

	return at ? at->role : ATTACH_NONE;
}

unsigned interfaces_count(const struct interfaces *interfaces, enum attach_role role)
{
	unsigned n = 0;

	for (unsigned i = 0; i < interfaces->n; i++)
		n += interfaces->list[i].role == role;
	return n;
}

static bool is_wanted(void *context, const char *name)
{
	const struct interfaces *interfaces = context;

	for (unsigned i = 0; i < interfaces->n; i++)
		if (interfaces->list[i].role != ATTACH_NONE &&
		    !strcmp(interfaces->list[i].name, name))
			return true;
	return false;
}

int interfaces_prune(struct interfaces *interfaces)
{
	return datapath_prune(interfaces->datapath, is_wanted, interfaces);
}
