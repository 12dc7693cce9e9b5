// Default module ids depend on where the checkout lies; named ones make every build of one
// commit the same bytes, so that the committed bundle can be compared with its sources.
module.exports = { optimization: { moduleIds: 'named' } };
