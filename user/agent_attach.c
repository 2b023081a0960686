// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the attempts to attach to a device and what is said of those that fail: each error of a device
 * once, however often routes ask for it, and a new attempt each second until one succeeds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "log.h"

#define AGAIN_MS 1000

struct unattached {
	int ifindex, error;
	attach_fn *attach;
	uint64_t again_ms; /* uv_now() */
};

static struct unattached *find(const struct agent *agent, int ifindex, attach_fn *attach)
{
	for (size_t i = 0; i < agent->n_unattached; i++)
		if (agent->unattached[i].ifindex == ifindex && agent->unattached[i].attach == attach)
			return &agent->unattached[i];
	return NULL;
}

static void forget(struct agent *agent, struct unattached *one)
{
	*one = agent->unattached[--agent->n_unattached];
}

static void say(const struct route_link *link, int error)
{
	if (error == -EMEDIUMTYPE)
		log_warn("%s carries no Ethernet headers (its hardware type is %u), so Sluice cannot "
			 "serve clients behind it; replicas behind a tunnel are served", link->name,
			 link->type);
	else
		log_error("cannot attach to %s: %s; what comes in there is not translated, and "
			  "Sluice tries again each second: see `sluice doctor` for what else is at "
			  "its hooks", link->name, strerror(-error));
}

/* It is to be tried again; says why, unless that was said. */
static void remember(struct agent *agent, const struct route_link *link, attach_fn *attach,
		     int error)
{
	struct unattached *one = find(agent, link->ifindex, attach), *grown;

	if (!one || one->error != error)
		say(link, error);
	if (!one) {
		grown = reallocarray(agent->unattached, agent->n_unattached + 1, sizeof(*grown));
		if (!grown)
			return; /* the next change of routes tries again */
		agent->unattached = grown;
		one = &grown[agent->n_unattached++];
	}
	*one = (struct unattached){.ifindex = link->ifindex, .error = error, .attach = attach,
				   .again_ms = uv_now(&agent->loop) + AGAIN_MS};
}

/* Whether the attempt succeeded. */
static bool attempt(struct agent *agent, const struct route_link *link, attach_fn *attach)
{
	int error = attach(agent->interfaces, link);
	struct unattached *one;

	if (error && error != -EMEDIUMTYPE) {
		remember(agent, link, attach, error);
		return false;
	}
	if (error)
		say(link, error);
	one = find(agent, link->ifindex, attach);
	if (one)
		forget(agent, one);
	return !error;
}

void agent_attach(struct agent *agent, int ifindex, attach_fn *attach)
{
	const struct route_link *link = route_link_find(agent->route, ifindex);

	if (link && !find(agent, ifindex, attach))
		attempt(agent, link, attach);
}

void agent_attach_uplink(struct agent *agent)
{
	agent_attach(agent, route_default_ifindex(agent->route), interfaces_default_uplink);
}

void agent_attach_named(struct agent *agent, const struct route_link *link)
{
	attempt(agent, link, interfaces_link_new);
}

void agent_attach_forget(struct agent *agent, int ifindex)
{
	for (size_t i = 0; i < agent->n_unattached;)
		if (agent->unattached[i].ifindex == ifindex)
			forget(agent, &agent->unattached[i]);
		else
			i++;
}

bool agent_attach_again(struct agent *agent)
{
	uint64_t now = uv_now(&agent->loop);
	const struct route_link *link;
	struct unattached one;
	bool attached = false;

	for (size_t i = agent->n_unattached; i-- > 0;) { /* what is forgotten gives way to a later one */
		one = agent->unattached[i];
		link = one.again_ms <= now ? route_link_find(agent->route, one.ifindex) : NULL;
		if (link)
			attached |= attempt(agent, link, one.attach);
	}
	return attached;
}
