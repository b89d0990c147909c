"""The questions to Jobber's GraphQL API; every list says how many, since that is what it costs."""

from __future__ import annotations

from typing import Final

CUSTOM_FIELDS: Final = """
fragment customFields on CustomFieldUnion {
  __typename
  ... on CustomFieldText { id label valueText }
  ... on CustomFieldNumeric { id label valueNumeric }
  ... on CustomFieldTrueFalse { id label valueTrueFalse }
  ... on CustomFieldDropdown { id label valueDropdown }
  ... on CustomFieldLink { id label }
  ... on CustomFieldArea { id label }
}
"""
_SAMPLED_CLIENT: Final = (
    """
fragment sampledFields on Client {
  id name firstName lastName companyName title isCompany isLead isArchived balance
  receivesReminders receivesFollowUps jobberWebUri createdAt updatedAt email phone
  emails { id address primary }
  phones { id number normalizedPhoneNumber primary }
  billingAddress { street1 street2 city province postalCode country }
  customFields { ...customFields }
}
"""
    + CUSTOM_FIELDS
)
_CLIENT: Final = (
    "fragment clientFields on Client { ...sampledFields tags(first: 50) { nodes { label } } }"
    + _SAMPLED_CLIENT
)
READ: Final = {
    "clients": "query readClient($id: EncodedId!) { client(id: $id) { ...clientFields } }"
    + _CLIENT,
    "requests": """
query readRequest($id: EncodedId!) {
  request(id: $id) {
    id title requestStatus source contactName companyName email phone jobberWebUri
    createdAt updatedAt client { id name }
  }
}
""",
    "jobs": """
query readJob($id: EncodedId!) {
  job(id: $id) {
    id jobNumber title jobStatus startAt endAt total instructions createdAt updatedAt
    client { id name } customFields { ...customFields }
  }
}
"""
    + CUSTOM_FIELDS,
    "quotes": """
query readQuote($id: EncodedId!) {
  quote(id: $id) {
    id title message amounts { subtotal total } createdAt updatedAt client { id name }
  }
}
""",
}
HISTORY: Final = """
query clientHistory($id: EncodedId!) {
  client(id: $id) {
    createdAt
    notes(first: 50, sort: [{ key: CREATED_AT, direction: DESCENDING }]) {
      nodes { ... on ClientNote { id message createdAt lastEditedBy { name { full } } } }
    }
    requests(first: 25) { nodes { id title requestStatus createdAt } }
    quotes(first: 25) { nodes { id title createdAt } }
    jobs(first: 25) { nodes { id title jobNumber jobStatus createdAt } }
  }
}
"""
SEARCH: Final = (
    """
query searchClients($term: String!) {
  clients(searchTerm: $term, first: 25) { nodes { ...clientFields } }
}
"""
    + _CLIENT
)
SEARCH_PHONE: Final = (
    """
query searchPhone(
  $international: String!, $digits: String!, $national: String!, $ending: String!
) {
  international: clients(searchTerm: $international, first: 10) { nodes { ...clientFields } }
  digits: clients(searchTerm: $digits, first: 10) { nodes { ...clientFields } }
  national: clients(searchTerm: $national, first: 10) { nodes { ...clientFields } }
  ending: clients(searchTerm: $ending, first: 25) { nodes { ...clientFields } }
}
"""
    + _CLIENT
)
CONFIGURATIONS: Final = """
query customFieldConfigurations($appliesTo: CustomFieldAppliesTo!) {
  customFieldConfigurations(filter: { appliesTo: $appliesTo }, first: 100) {
    nodes {
      ... on CustomFieldConfigurationInterface { id name appliesTo readOnly valueType updatedAt }
    }
  }
}
"""
CHANGED: Final = """
query changedClients($since: ISO8601DateTime!, $after: String) {
  clients(filter: { updatedAt: { after: $since } }, first: 25, after: $after) {
    nodes {
      id createdAt
      customFields { ... on CustomFieldText { label valueText } }
      notes(first: 25, sort: [{ key: CREATED_AT, direction: DESCENDING }]) {
        nodes { ... on ClientNote { id message createdAt lastEditedBy { name { full } } } }
      }
    }
    pageInfo { endCursor hasNextPage }
  }
}
"""
# Without lists within the list, which would cost their number once more for every node.
SAMPLE: Final = {
    "clients": """
query sampleClients($after: String) {
  clients(first: 50, after: $after) {
    nodes { ...sampledFields }
    pageInfo { endCursor hasNextPage }
  }
}
"""
    + _SAMPLED_CLIENT,
    "requests": """
query sampleRequests($after: String) {
  requests(sort: [{ key: UPDATED_AT, direction: DESCENDING }], first: 50, after: $after) {
    nodes {
      id title requestStatus source contactName companyName email phone jobberWebUri
      createdAt updatedAt client { id name }
    }
    pageInfo { endCursor hasNextPage }
  }
}
""",
}
