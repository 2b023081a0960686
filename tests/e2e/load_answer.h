/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What load.c reads in the head of an HTTP/1.1 answer: its status, its length, and which replica
 * it is from.
 */
#ifndef E2E_LOAD_ANSWER_H
#define E2E_LOAD_ANSWER_H

#include "load.h"

static const char *header_value(const char *head, const char *name)
{
	const char *at = strcasestr(head, name);

	if (!at)
		return NULL;
	at += strlen(name);
	return at + strspn(at, " ");
}

/* Reads the head of the answer; returns how many bytes of it are body already, -1: incomplete. */
static ssize_t take_head(struct conn *conn, const char **ret_body)
{
	const char *value;
	char *end;

	conn->head[conn->head_len] = '\0';
	end = strstr(conn->head, "\r\n\r\n");
	if (!end)
		return -1;
	end[2] = '\0';
	conn->in_body = true;
	if (sscanf(conn->head, "HTTP/1.%*c %d", &conn->status) != 1)
		conn->status = 0;
	value = header_value(conn->head, "\nContent-Length:");
	conn->body_expected = value ? atol(value) : -1;
	value = header_value(conn->head, "\nX-Replica:");
	snprintf(conn->name, NAME_LEN, "%.*s", value ? (int)strcspn(value, "\r\n") : 1,
		 value ? value : "?");
	*ret_body = end + 4;
	return conn->head_len - (end + 4 - conn->head);
}

#endif
