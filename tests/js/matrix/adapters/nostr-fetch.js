import { NostrFetcher } from 'nostr-fetch'

export function open(url) {
  const fetcher = NostrFetcher.init()
  return {
    query: ({ since, until, limit, ...filter }) => limit
      ? fetcher.fetchLatestEvents([url], filter, limit)
      : fetcher.fetchAllEvents([url], filter, { since, until }),
    page: async filter => {
      const events = []
      for await (const event of fetcher.allEventsIterator([url], filter, {})) events.push(event)
      return events
    },
    close: () => fetcher.shutdown()
  }
}
